"""Try the disks that a server has (SMB, NFS) in a virtual machine that is made from Debian's packages.

python -m tests.filesystems.machine [NAME...]

The packages are unpacked in a folder, and nothing is installed. The machine sees the disk of its host by 9p,
which it can only read, the packages above that, and what it writes in its own memory. It has no network but
itself, and is computed in software: it needs no module of the kernel here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.filesystems.disks import SERVED
from tests.filesystems.guide import THERE, check

TOP = Path(__file__).parent.parent.parent
PLACE = TOP / 'build' / 'machine'
PACKAGES = ('busybox-static', 'cifs-utils', 'cpio', 'kmod', 'linux-image-amd64')
PACKAGES += ('nfs-kernel-server', 'qemu-system-x86', 'samba', 'unzip')
FIRST_MODULES = ('virtio_pci', '9pnet_virtio', '9p', 'overlay')

SECONDS = 3600  # for all disks: more, and something hangs

INIT = f"""\
#!/busybox sh
/busybox --install -s /bin
mount -t proc x /proc; mount -t sysfs x /sys; mount -t devtmpfs x /dev
modprobe -a {' '.join(FIRST_MODULES)}
BY_9P='-t 9p -o trans=virtio,version=9p2000.L,msize=512000'
mount $BY_9P,ro,cache=loose host /host; mount $BY_9P,ro,cache=loose packages /packages
mount -t tmpfs x /own; mkdir /own/upper /own/work
mount -t overlay -o lowerdir=/packages:/host,upperdir=/own/upper,workdir=/own/work x /root
for one in proc sys dev; do mount --move /$one /root/$one; done
for one in run var/lib/samba; do mkdir -p /root/$one; mount -t tmpfs x /root/$one; done
mkdir -p /root/run/out /root/dev/shm; mount -t tmpfs x /root/dev/shm; mount $BY_9P out /root/run/out
exec chroot /root /bin/bash -c '/bin/bash /run/out/run >/run/out/log 2>&1; busybox poweroff -f'
"""

RUN = """\
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
export PYTHONPATH={top} PYTHONDONTWRITEBYTECODE=1
cd {top}; touch /run/out/booted
busybox ip link set lo up; modprobe loop
truncate -s 1G /run/image; mkfs.ext4 -q /run/image; mkdir /run/ext4 /run/tmp
mount -o loop /run/image /run/ext4
{python} -m fastindex example /run/ext4/example --sessions 2
for name in {names}; do
    mkdir "/run/ext4/${{name// /-}}"
    {python} -m tests.filesystems.steps "$name" "/run/ext4/${{name// /-}}" /run/ext4/example >"/run/out/$name"
done
"""


class NotTriedError(Exception):
    """The machine cannot be had here."""


def find(root: Path, pattern: str) -> Path:
    """Find a file of the packages; one that is installed here was not fetched."""
    return next(path for top in (root, Path('/')) for path in sorted(top.glob(pattern), reverse=True))


def fetch() -> Path:
    """Unpack the packages in a folder, once; those that are installed here are not among them."""
    root, archives = PLACE / 'root', PLACE / 'archives'
    if root.exists():
        return root
    if not shutil.which('apt-get'):
        raise NotTriedError('it is made from packages of Debian, and there is no apt-get')
    (archives / 'partial').mkdir(parents=True, exist_ok=True)
    get = ['apt-get', '--yes', '--quiet', '--download-only', '--no-install-recommends', 'install', *PACKAGES]
    done = subprocess.run([*get, '-o', f'Dir::Cache::archives={archives}'], capture_output=True, text=True)
    if done.returncode:
        raise NotTriedError(f'apt-get: {done.stderr.strip().splitlines()[0]}')
    new = PLACE / 'root.new'
    shutil.rmtree(new, ignore_errors=True)
    for name in ('bin', 'sbin', 'lib', 'lib64'):
        (new / 'usr' / name).mkdir(parents=True)
        (new / name).symlink_to(f'usr/{name}')
    unpack = (
        'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink --exclude=./usr/share/doc -C "$2"'
    )
    for path in sorted(archives.glob('*.deb')):
        subprocess.run(['sh', '-eu', '-c', unpack, 'sh', path, new], check=True)
    for modules in (new / 'usr' / 'lib' / 'modules').glob('*'):
        subprocess.run(['depmod', '-b', new, modules.name], check=True, executable=find(new, 'bin/kmod'))
    new.rename(root)
    return root


def make_first_disk(root: Path) -> Path:
    """Make what the kernel starts with: a shell, and the modules by which it sees the rest."""
    modules = find(root, 'usr/lib/modules/*')
    folder, archive = PLACE / 'first', PLACE / 'first.cpio'
    shutil.rmtree(folder, ignore_errors=True)
    for name in ('bin', 'proc', 'sys', 'dev', 'host', 'packages', 'own', 'root'):
        (folder / name).mkdir(parents=True)
    shutil.copy(find(root, 'bin/busybox'), folder / 'busybox')
    (folder / 'init').write_text(INIT)
    (folder / 'init').chmod(0o755)
    needs = dict(line.split(':') for line in (modules / 'modules.dep').read_text().splitlines())
    wanted = [path for path in needs if Path(path).stem in FIRST_MODULES]
    for name in {'modules.dep', *wanted, *' '.join(needs[path] for path in wanted).split()}:
        target = folder / 'lib' / 'modules' / modules.name / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(modules / name, target)
    pack = 'cd "$1"; find . | "$2" --quiet -o -H newc'
    with archive.open('wb') as file:
        subprocess.run(
            ['sh', '-eu', '-c', pack, 'sh', folder, find(root, 'bin/cpio')], stdout=file, check=True
        )
    return archive


def boot(root: Path, names: list[str]) -> Path:
    """Run the steps on each disk in the machine; gives the folder with what came of it."""
    out = PLACE / 'out'
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    quoted = ' '.join(f"'{name}'" for name in names)
    (out / 'run').write_text(RUN.format(top=TOP, python=sys.executable, names=quoted))
    command = [
        root / 'usr/bin/qemu-system-x86_64',
        '-accel',
        'tcg',
        '-cpu',
        'max',
        '-m',
        '3G',
        '-nic',
        'none',
    ]
    for name in ('qemu', 'seabios'):
        command += ['-L', root / 'usr' / 'share' / name]
    kernel = find(root, 'boot/vmlinuz-*')
    command += ['-nographic', '-no-reboot', '-kernel', kernel, '-initrd', make_first_disk(root)]
    command += ['-append', 'console=ttyS0 quiet panic=1 rdinit=/init']
    for tag, path in (('host', '/,readonly=on'), ('packages', f'{root},readonly=on'), ('out', out)):
        command += ['-virtfs', f'local,path={path},mount_tag={tag},security_model=none,multidevs=remap']
    libraries = root / 'usr' / 'lib' / 'x86_64-linux-gnu'
    try:
        with (out / 'console').open('wb') as console:
            subprocess.run(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                env={**os.environ, 'LD_LIBRARY_PATH': str(libraries)},
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotTriedError(str(error)) from error
    if not (out / 'booted').exists():
        raise NotTriedError(f'it did not start: see {out}/console')
    return out


def main(names: list[str]) -> None:
    """Print what came of each disk; fail where it is not what the guide says."""
    start = time.monotonic()
    try:
        out = boot(fetch(), names)
    except NotTriedError as error:
        print(f'{", ".join(names)}: NOT TRIED, as no machine can be had here: {error}')
        return
    for name in names:
        said = (out / name).read_text() if (out / name).exists() else ''
        if not said:
            sys.exit(f'{name}: failed: see {out}/log')
        found = json.loads(said)
        if 'not mounted' in found:
            print(f'{name}: NOT TRIED: {found["not mounted"]}')
            continue
        print(f'{name}: {json.dumps(found, indent=2)}')
        check(name, found, THERE)
        print(f'{name}: works')
    print(f'{time.monotonic() - start:.0f} s')


if __name__ == '__main__':
    main(sys.argv[1:] or list(SERVED))
