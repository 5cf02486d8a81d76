// Draws the charts and the table of the page with the libraries that are in it; nothing is fetched.

const root = document.documentElement;
const byId = (id) => document.getElementById(id);

// Light or dark as the system is, until the button is pressed.
const system = matchMedia('(prefers-color-scheme: dark)');
const button = byId('theme');
function setTheme(isDark) {
  root.classList.toggle('dark', isDark);
  root.classList.toggle('light', !isDark);
  button.textContent = isDark ? 'light' : 'dark';
}
setTheme(system.matches);
system.addEventListener('change', () => setTheme(system.matches));
button.addEventListener('click', () => setTheme(!root.classList.contains('dark')));
button.hidden = false;

async function load(id) {
  const url = URL.createObjectURL(new Blob([byId(id).textContent], { type: 'text/javascript' }));
  try {
    return await import(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

function toSize(count) {
  if (count < 1000) return `${count} B`;
  const power = Math.min(4, Math.floor(Math.log10(count * 1.00005) / 3));
  const number = (count / 1000 ** power).toLocaleString('en', {
    minimumFractionDigits: 1,
    maximumFractionDigits: 1,
  });
  return `${number} ${['kB', 'MB', 'GB', 'TB'][power - 1]}`;
}

function showTable({ columns, rows }, DataTable) {
  const isText = columns.map((_, place) => typeof rows[0][place] === 'string');
  const text = DataTable.render.text();
  const number = (format) => ({ display: (value) => format(value) });
  new DataTable('#table', {
    data: rows,
    columns: columns.map((title, place) => ({
      title,
      className: isText[place] ? 'dt-left' : 'dt-right',
      type: isText[place] ? 'string' : 'num',
      render: isText[place]
        ? text
        : (value, kind) =>
            kind !== 'display' ? value : title === 'bytes' ? toSize(value) : value.toLocaleString('en'),
    })),
    order: [],
    pageLength: 25,
    scrollX: true,
    deferRender: true,
    language: { search: '', searchPlaceholder: 'search' },
  });
}

const data = JSON.parse(byId('data').textContent);
if (byId('table')) {
  const [{ default: DataTable }] = await Promise.all([load('datatables'), load('vega')]);
  showTable(data.table, DataTable);
  const options = { mode: 'vega-lite', renderer: 'svg', actions: false, ast: true };
  await Promise.all(
    Object.entries(data.charts).map(([id, spec]) => vegaEmbed(byId(id), spec, options)),
  );
}
root.dataset.ready = 'yes';
