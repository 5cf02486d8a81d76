"""The disks that are tried: how each is made and mounted, in a shell with its own mounts.

`$W` is an empty folder, `$M` where it is to be mounted; $M is unmounted and mounted again in between.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ['DISKS', 'NFS', 'SERVED', 'START', 'STOP', 'Disk']


class Disk(NamedTuple):
    """A disk."""

    make: str
    mount: str
    tools: tuple[str, ...] = ()
    is_in_every_ci: bool = True
    """Whether what it needs is installed there, and the kernel knows it."""


def image(make: str, size: str, mount: str, *tools: str, is_in_every_ci: bool = True) -> Disk:
    """A disk in a file."""
    make = f'truncate -s {size} $W/image; {make} $W/image'
    return Disk(make, f'{mount} $W/image $M', tools, is_in_every_ci)


LOOP = 'mount -o loop'
TWO = 'mkdir $W/lower $W/upper $W/work'
LAYERS = 'lowerdir=$W/lower,upperdir=$W/upper,workdir=$W/work'

DISKS = {
    'ext4': image('mkfs.ext4 -q', '64M', LOOP, 'mkfs.ext4'),
    'ext4, names of any case': image('mkfs.ext4 -q -O casefold', '64M', LOOP, is_in_every_ci=False),
    'xfs': image('mkfs.xfs -q', '320M', LOOP, 'mkfs.xfs'),
    'btrfs': image('mkfs.btrfs -q', '128M', LOOP, 'mkfs.btrfs'),
    'vfat': image('mkfs.vfat', '64M', LOOP, 'mkfs.vfat', is_in_every_ci=False),
    'exFAT': image('mkfs.exfat', '64M', f'{LOOP} -t exfat', 'mkfs.exfat', is_in_every_ci=False),
    'exfat-fuse': Disk(
        'truncate -s 64M $W/image; mkfs.exfat $W/image',
        # It is let go of as soon as it is unmounted.
        'D=$(losetup --find --show $W/image); mount.exfat-fuse $D $M; losetup --detach $D',
        ('mkfs.exfat', 'mount.exfat-fuse'),
    ),
    'ntfs-3g': image('mkntfs -Q -F', '64M', 'ntfs-3g', 'mkntfs', 'ntfs-3g'),
    'tmpfs': Disk('mount -t tmpfs x $W', 'mount --bind $W $M'),
    'overlay': Disk(f'mount -t tmpfs x $W; {TWO}', f'mount -t overlay -o {LAYERS} x $M'),
    'fuse-overlayfs': Disk(f'{TWO}', f'fuse-overlayfs -o {LAYERS} $M', ('fuse-overlayfs',)),
    'mergerfs': Disk(f'{TWO}', 'mergerfs $W/lower:$W/upper $M', ('mergerfs',)),
    'bindfs': Disk(f'{TWO}', 'bindfs $W/lower $M', ('bindfs',)),
}

SAMBA = """
mkdir $W/share $W/state
cat >$W/smb.conf <<END
[global]
interfaces = lo
pid directory = $W/state
lock directory = $W/state
state directory = $W/state
cache directory = $W/state
private dir = $W/state
ncalrpc dir = $W/state
log file = $W/state/log
[share]
path = $W/share
read only = no
END
printf 'word\\nword\\n' | smbpasswd -c $W/smb.conf -s -a root
smbd -D -s $W/smb.conf
"""

NFS_SERVER = """
touch /etc/exports
grep -q ^_rpc: /etc/passwd || echo _rpc:x:901:0::/:/bin/false >>/etc/passwd
mountpoint -q /proc/fs/nfsd || mount -t nfsd x /proc/fs/nfsd
pidof rpcbind || rpcbind
pidof rpc.statd || rpc.statd --no-notify
pidof rpc.mountd || rpc.mountd
mkdir $W/share
"""
EXPORT = 'exportfs -o rw,sync,insecure,no_subtree_check,{option} 127.0.0.1:$W/share'
START, STOP = 'rpc.nfsd --grace-time 10 --lease-time 10 4', 'rpc.nfsd 0'


class Nfs(NamedTuple):
    """A share of the kernel's own server, where root is root; and what its machine does besides."""

    version: str
    path: str
    option: str = 'no_all_squash'

    @property
    def disk(self) -> Disk:
        return Disk(f'{NFS_SERVER}{self.export("no_root_squash")}; {START}', self.mount())

    def export(self, squash: str) -> str:
        return EXPORT.format(option=f'{squash},{self.option}')

    def mount(self, options: str = '') -> str:
        return f'mount -t nfs -o vers={self.version},nosharecache{options} 127.0.0.1:{self.path} $M'


NFS = {'NFS 4.2': Nfs('4.2', '/', 'fsid=0'), 'NFS 3': Nfs('3', '$W/share')}

SERVED = {  # by the same machine, in tests/filesystems/machine.py
    'SMB 3.1.1': Disk(SAMBA, 'mount -t cifs -o vers=3.1.1,username=root,password=word //127.0.0.1/share $M'),
    **{name: share.disk for name, share in NFS.items()},
}
