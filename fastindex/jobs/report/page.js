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

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(document.createElement('textarea')); // a file is no secure context
    area.value = text;
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

function addButton(table, text, title, act) {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', textContent: text, title, className: 'act' });
  button.addEventListener('click', async () => {
    await act();
    button.textContent = 'done';
    setTimeout(() => (button.textContent = text), 1500);
  });
  table.table().container().querySelector('.dt-search').append(button);
}

const toCsv = (rows) =>
  rows.map((row) => row.map((value) => `"${String(value).replaceAll('"', '""')}"`).join(',') + '\r\n').join('');

function save(name, text) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function showTable(id, { columns, rows }, DataTable) {
  const isText = columns.map((_, place) => typeof rows[0][place] === 'string');
  const text = DataTable.render.text();
  const table = new DataTable(`#${id}`, {
    data: rows,
    columns: columns.map((title, place) => ({
      title,
      className: (isText[place] ? 'dt-left' : 'dt-right') + (title === 'missing' ? ' words' : ''),
      type: isText[place] ? 'string' : 'num',
      render: isText[place]
        ? text
        : (value, kind) =>
            kind !== 'display' ? value : title === 'bytes' ? toSize(value) : value.toLocaleString('en'),
    })),
    order: [],
    pageLength: id === 'table' ? 25 : 10,
    scrollX: true,
    deferRender: true,
    language: { search: '', searchPlaceholder: 'search' },
  });
  const shown = () => table.rows({ search: 'applied', order: 'applied' }).data().toArray();
  for (const [title, what] of [['eid', 'eids'], ['path', 'paths']]) {
    const place = columns.indexOf(title);
    if (place < 0) continue;
    const join = () => copy(shown().map((row) => row[place]).join('\n'));
    addButton(table, `copy ${what}`, 'of all rows that the search leaves', join);
    byId(id).addEventListener('click', (event) => {
      const cell = event.target.closest('tbody td');
      if (cell && cell.cellIndex === place) copy(cell.textContent);
    });
  }
  addButton(table, 'CSV', 'all rows that the search leaves', () => save(`${id}.csv`, toCsv([columns, ...shown()])));
  return table;
}

// A click on a share of less than all lists the sessions that lack the dataset.
function filterByCell(table) {
  const names = [...document.querySelectorAll('#coverage thead th')].map((cell) => cell.textContent);
  byId('coverage').addEventListener('click', (event) => {
    const cell = event.target.closest('tbody td:not(.number)');
    if (!cell || cell.textContent === '100%') return;
    const isTotal = cell.parentElement.classList.contains('total');
    const name = isTotal ? '' : cell.parentElement.cells[0].textContent;
    table.search(`${name} ${names[cell.cellIndex]}`).draw();
    byId('incomplete').scrollIntoView();
  });
}

const data = JSON.parse(byId('data').textContent);
if (byId('table')) {
  const [{ default: DataTable }] = await Promise.all([load('datatables'), load('vega')]);
  if (byId('incomplete')) filterByCell(showTable('incomplete-table', data.incomplete, DataTable));
  showTable('table', data.table, DataTable);
  const options = { mode: 'vega-lite', renderer: 'svg', actions: false, ast: true };
  await Promise.all(
    Object.entries(data.charts).map(([id, spec]) => vegaEmbed(byId(id), spec, options)),
  );
}
root.dataset.ready = 'yes';
