"""What programs leave beside data: a table of the names that they give, and where it is known from.

Unfinished copies, the other half of a conflict, copies made by hand in a file manager, files of editors and
systems; and placeholders, which stand for a file that is not on this disk. A row is added in `_TABLE`,
with an example, and that is all there is to do: the index and `validate` follow.

Of an index the rule is the contract's: it holds what the client can open. Some of these names are ALF, and
in an index beside the dataset that they are of they make the client raise (more than one object found). So
`is_left_over` keeps them out of it, as skips; but only where the name tells of which dataset they are left,
by a name that data have: `ephys.raw.part` may be anybody's data, and stays.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache, lru_cache
from typing import NamedTuple

from fastindex.names.alf import is_dataset_name

__all__ = [
    'DATA',
    'LEFTOVERS',
    'Left',
    'Leftover',
    'find_left_over',
    'find_placeholder',
    'is_left_over',
    'is_plain',
]


class Left(StrEnum):
    """What a program left, as it is said of the file."""

    UNFINISHED = 'a copy that a program has not finished'
    RECORD = 'what a program notes down while it copies: the copy is not whole'
    CONFLICT = 'another version, which a program kept beside the file as it could not tell which is right'
    COPY = 'a copy that was made in a file manager or a browser'
    OWN = 'left behind by a program, as it seems'
    NOTE = 'what a program notes of a file, and not the file itself'
    PLACEHOLDER = 'a placeholder: the file itself is not on this disk'


class Leftover(NamedTuple):
    """A way to name what is left of a file.

    Parameters
    ----------
    left
        What it is.
    programs
        Which do it, and where that is written.
    pattern
        Of the name, whatever its case. The groups `name`, or `stem` and `extension`, are the name of the
        file that it is of; without them nothing tells.
    example
        What is left of `spikes.times.npy`.
    """

    left: Left
    programs: str
    pattern: str
    example: str


DATA = frozenset(
    [
        *('npy', 'npz', 'sparse_npz', 'pqt', 'parquet', 'csv', 'tsv', 'ssv', 'htsv', 'json', 'jsonable'),
        *('txt', 'log', 'xml', 'yaml', 'yml', 'meta', 'ch', 'bin', 'cbin', 'dat', 'raw', 'mat', 'h5', 'hdf5'),
        *('nwb', 'pkl', 'mp4', 'avi', 'mkv', 'mov', 'mj2', 'webm', 'wav', 'flac', 'png', 'jpg', 'jpeg'),
        *('gif', 'webp', 'tif', 'tiff', 'pdf', 'xlsx', 'zip', '7z', 'tar', 'gz', 'bz2', 'xz', 'zst'),
    ]
)
"""Extensions of files that the field keeps as datasets: nothing is taken for a left-over of another one."""

_NAME = '(?P<name>.+?)'
_STEM, _EXTENSION = '(?P<stem>.+?)', r'\.(?P<extension>\w+)'
_DATA = rf'(?P<name>.+\.(?:{"|".join(sorted(DATA))}))'
_PIECES = {'7z', 'bin', 'bz2', 'cbin', 'dat', 'gz', 'log', 'raw', 'tar', 'xz', 'zip', 'zst'}
"""What is written in numbered pieces: by recorders, where logs are rotated, of archives in parts."""
_WHOLE = '|'.join(sorted(DATA - _PIECES))

_TABLE = {
    Left.PLACEHOLDER: [
        ('iCloud Drive to macOS 13 (cryptomator/cloud-access-swift issue 19)',
         rf'\.{_NAME}\.icloud', '.spikes.times.npy.icloud'),
        ('Nextcloud, ownCloud, OpenCloud (APPLICATION_DOTVIRTUALFILE_SUFFIX)',
         rf'{_NAME}\.(?:next|own|open)cloud', 'spikes.times.npy.nextcloud'),
        ('odrive (docs.odrive.com, Sync and Unsync)', rf'{_NAME}\.cloudf?', 'spikes.times.npy.cloud'),
        ('Resilio Sync and Connect (help.resilio.com, What Is an RSLS File?)',
         rf'{_NAME}\.rsl[s~]', 'spikes.times.npy.rsls'),
        ('rclone (rclone.org/local, Symlinks): a link, as text',
         rf'{_NAME}\.rclonelink', 'spikes.times.npy.rclonelink'),
    ],
    # The file may be there, or not.
    Left.NOTE: [
        ('DVC (dvc.org/doc, .dvc Files), Windows, macOS: what leads to a file',
         rf'{_NAME}(?:(?: - Shortcut)?\.lnk|\.dvc| alias)', 'spikes.times.npy.dvc'),
        ('streams of NTFS, as WSL, Samba and Synology copy them: where it was downloaded',
         rf'{_NAME}(?:[:_\uf022\uf03a]?Zone\.Identifier|[:\uf022\uf03a][\w.$]+|@Syno(?:EAStream|Resource))',
         'spikes.times.npy:Zone.Identifier'),
    ],
    Left.CONFLICT: [
        ('Syncthing (docs.syncthing.net, Understanding Synchronization)',
         rf'{_STEM}\.sync-conflict-[0-9]{{8}}-[0-9]{{6}}(?:-\w+)?{_EXTENSION}',
         'spikes.times.sync-conflict-20240506-123456-ABCDEFG.npy'),
        ("Dropbox (X's conflicted copy), Nextcloud, ownCloud, Seafile, Unison, Google Drive",
         (rf'{_STEM} ?[(\[][^()\[\]]*(?:(?-i:onfli[ck]?t)|case clash)[^()\[\]]*[)\]]'
          rf'(?:-?[0-9]+)?{_EXTENSION}'), "spikes.times (Bob's conflicted copy 2024-05-06).npy"),
        ('ownCloud to 2.5, Nextcloud to 2.5 (Utility::makeConflictFileName)',
         rf'{_STEM}_conflict-(?:.+-)?[0-9]{{8}}-[0-9]{{6}}{_EXTENSION}',
         'spikes.times_conflict-20240506-123456.npy'),
        ('Resilio Sync (help.resilio.com, Conflict files in Sync)',
         rf'{_STEM}(?:\.(?-i:Conflict)[0-9]*)+{_EXTENSION}', 'spikes.times.Conflict.npy'),
        ('Synology Drive (kb.synology.com, Why is there file conflict)',
         rf'{_STEM}_[^_]+_\w{{3}}-[0-9]{{2}}-[0-9]{{4}}-[0-9]{{4}}_\w*Conflict(?:_[0-9]+)?{_EXTENSION}',
         'spikes.times_Andy-PC_Jan-03-0901-2013_CaseConflict_1.npy'),
        ('git-annex (git-annex resolvemerge)',
         rf'{_STEM}\.variant-[0-9a-f]{{3,4}}{_EXTENSION}', 'spikes.times.variant-f16a.npy'),
        ('git mergetool (git-mergetool.sh): the sides of a merge',
         rf'{_STEM}_(?-i:BACKUP|BASE|LOCAL|REMOTE)_[0-9]+{_EXTENSION}', 'spikes.times_BACKUP_12345.npy'),
        ('git (merge-recursive): the side of a branch', rf'{_DATA}~\w+', 'spikes.times.npy~HEAD'),
        ('rclone bisync (rclone.org/bisync, conflict-suffix)',
         rf'{_NAME}\.(?:(?-i:conflict)[0-9]+|\.path[12])', 'spikes.times.npy.conflict1'),
        ('OneDrive, which adds the name of the computer: those that Windows makes up',
         rf'{_STEM}-(?:DESKTOP|LAPTOP|WIN)-\w{{7,11}}(?:-[0-9]+)?{_EXTENSION}',
         'spikes.times-DESKTOP-1A2B3C4.npy'),
    ],
    Left.COPY: [
        ('Windows, macOS, GNOME, KDE',
         (rf'{_STEM}(?: [-\u2013\u2014])?(?:[ (]\(?(?:copy|another copy|[0-9]+\w\w copy|[ck]op(?:i[aeo]?|ya)|'
          r'cópia|másolat|копи[яю]|копія)| ?\(?(?:[のノ]?コピー|的?(?:副本|拷[贝貝])|複製|복사본))'
          rf'(?: ?\(?[0-9]+\)?)?\)?{_EXTENSION}'), 'spikes.times - Copy (2).npy'),
        ('Browsers, OneDrive, Google Drive, macOS: a number',
         rf'{_STEM}(?: ?\([0-9]+\)| [0-9]+){_EXTENSION}', 'spikes.times (1).npy'),
        ('Google Drive, Windows 7, Excel (Backup of)',
         rf'(?:(?:Copy|Backup) of|Kopie von|(?:Copie|Copia|Cópia) de) {_NAME}', 'Copy of spikes.times.npy'),
        ('Syncthing (docs.syncthing.net, File Versioning)',
         rf'{_STEM}~[0-9]{{8}}-[0-9]{{6}}{_EXTENSION}', 'spikes.times~20240506-123456.npy'),
        ('Jupyter (nbformat, file checkpoints)',
         rf'{_STEM}-checkpoint{_EXTENSION}', 'spikes.times-checkpoint.npy'),
        ('wget, curl (no-clobber): a number after the name, from 1 on',
         rf'(?P<name>.+\.(?:{_WHOLE}))\.[1-9][0-9]{{0,2}}', 'spikes.times.npy.1'),
        ('cp, mv: numbered backups', rf'{_NAME}\.~[0-9]+~', 'spikes.times.npy.~1~'),
    ],
    Left.RECORD: [
        ('aria2, lftp, Aspera (aspera-ckpt, aspx), axel',
         rf'{_NAME}\.(?:aria2(?:__temp)?|lftp-pget-status|aspera-ckpt|aspx|st)', 'spikes.times.npy.aria2'),
    ],
    # Those with dots at both ends come before others that take them for something else.
    Left.UNFINISHED: [
        ('Syncthing (lib/fs/tempname.go)',
         rf'[.~]syncthing[.~]{_NAME}\.tmp', '.syncthing.spikes.times.npy.tmp'),
        ('Unison (src/update.ml, os.ml)',
         rf'\.unison\.{_NAME}\.[0-9a-f]{{32}}\.unison\.tmp',
         '.unison.spikes.times.npy.581106b2917358e73c9036f678424717.unison.tmp'),
        ('AzCopy (ste/xfer-remoteToLocal-file.go)',
         rf'\.azDownload-[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}-{_NAME}',
         '.azDownload-2f6e1f6c-8d0a-4d6b-9d8e-0123456789ab-spikes.times.npy'),
        ('s3cmd (S3/Utils)', r'\.s3cmd\.\w+\.tmp', '.s3cmd.x1Y2z3.tmp'),
        ('Nextcloud, ownCloud (createDownloadTmpFileName)',
         rf'\.{_NAME}\.~[0-9a-f]+', '.spikes.times.npy.~1a2b3c4d'),
        ('boto3, AWS CLI (s3transfer/__init__.py, random_file_extension)',
         rf'{_NAME}\.(?=[0-9]*[a-f])[0-9a-f]{{8}}', 'spikes.times.npy.6eF1b2A0'),
        ('s5cmd (storage/fs.go, os.CreateTemp: a number after the name)',
         rf'{_DATA}[0-9]{{6,10}}', 'spikes.times.npy2837465012'),
        ('MinIO (mc, and its libraries: the ETag before the suffix)',
         rf'{_NAME}\.[0-9a-f]{{32}}(?:-[0-9]+)?\.part\.minio',
         'spikes.times.npy.d41d8cd98f00b204e9800998ecf8427e.part.minio'),
        ('gsutil, gcloud storage (GetTempFileName)', rf'{_NAME}_\.gstmp', 'spikes.times.npy_.gstmp'),
        ('ibl-neuropixel (spikeglx.Reader: compress_file, decompress_to_scratch)',
         rf'{_DATA}_te?mp', 'spikes.times.npy_tmp'),
        ('gdown (gdown/download.py: a random part after the name)',
         rf'{_DATA}[a-z0-9_]{{8}}(?:\.part|tmp)', 'spikes.times.npyab12_x9z.part'),
        ('Cyberduck, Mountain Duck (AbstractDownloadFilter: segments)',
         rf'{_NAME}(?:-[0-9]+)?\.cyberducksegment', 'spikes.times.npy-1.cyberducksegment'),
        ('rclone (rclone.org/chunker): a piece',
         rf'{_NAME}\.rclone_chunk\.\w+(?:\.\.tmp_\w+)?', 'spikes.times.npy.rclone_chunk.001'),
        ('Nextcloud servers (ocTransferId), FreeFileSync, Hugging Face: a part of its own before it',
         rf'{_DATA}[.~_-][\w{{}}-]+\.(?:part|incomplete|ffs_tmp|te?mp)',
         'spikes.times.npy.ocTransferId2111130212.part'),
        ('numpy.save to such a name, and many: a number of a process, or a random part',
         rf'{_DATA}\.te?mp(?:[.~_-]?\w+)', 'spikes.times.npy.tmp.12345'),
        ('Xunlei', rf'{_DATA}\.(?:td(?:\.cfg)?|jc!)', 'spikes.times.npy.td'),
        ('macOS (TextEdit and others, while they save)',
         rf'{_NAME}\.sb-[0-9a-f]{{8}}-\w{{6}}', 'spikes.times.npy.sb-1a2b3c4d-x1Y2z3'),
        ('rclone (rclone.org/docs, partial-suffix: a hash before it)',
         rf'{_NAME}\.[0-9a-f]{{8}}\.partial', 'spikes.times.npy.1a2b3c4d.partial'),
        ('browsers, WinSCP, Aspera, Hugging Face, torrents, download managers',
         (rf'{_NAME}\.(?:crdownload|crswap|part|partial|download|opdownload|fdmdownload|filepart|incomplete|dtapart|'
          r'xltd|(?:baiduyun\.p\.)?downloading|gstmp|ffs_tmp|temp|tmp|!sync|!qB|!ut|!bt|bc!)'),
         'spikes.times.npy.crdownload'),
        ('rsync (receiver.c, get_tmpname)', rf'\.{_NAME}\.\w{{6}}', '.spikes.times.npy.a1B2c3'),
    ],
    Left.OWN: [
        ('many: the file before it was changed; JetBrains; nano, where it is killed',
         rf'{_NAME}(?:\.(?:bak|backup|old|orig|rej|save(?:\.[0-9]+)?)|___jb_(?:old|tmp)___)',
         'spikes.times.npy.bak'),
        ('many: the same with a number, or after an underscore',
         rf'{_DATA}[._-](?:bak|backup|old|orig)[._-]?[0-9]*', 'spikes.times.npy.bak1'),
        ('ExifTool (exiftool.org, -overwrite_original)',
         rf'{_DATA}_(?:original|exiftool_tmp)', 'spikes.times.npy_original'),
        ('filelock, and h5py and Zarr with it', rf'{_NAME}\.lo?ck', 'spikes.times.npy.lock'),
        ('Vim, nano, Kate', rf'\.?{_NAME}\.(?:sw[a-p]|kate-swp)', '.spikes.times.npy.swp'),
        ('Emacs, and many', r'\.#.*|#.*#|.*~|4913', '#spikes.times.npy#'),
        ('Office, LibreOffice: locks', r'~\$.*|\.~lock\..*#', '~$spikes.times.npy'),
        ('macOS, Windows, KDE, GNOME, Synology: file managers',
         r'\._.*|\.(?:DS_Store|directory|apdisk|goutputstream-\w{6})|Thumbs\.db|ehthumbs\.db|desktop\.ini|Icon\r',
         '._spikes.times.npy'),
        ('NFS, FUSE, SMB, AFP: a file that was removed while it was open',
         r'\.(?:nfs[0-9a-f]+|fuse_hidden\w+|smbdelete\w+|afpDeleted\w+)', '.nfs0000000012ab'),
    ],
}  # fmt: skip
"""By what is left: which programs leave it, and where that is written; its name; an example."""

LEFTOVERS = [Leftover(left, *row) for left, rows in _TABLE.items() for row in rows]
"""What is left, by who leaves it; the first that fits counts."""


@cache
def _patterns() -> list[tuple[Leftover, re.Pattern[str]]]:
    """Compile the patterns when a name asks for them: that takes a tenth of the time of a run's imports."""
    return [(row, re.compile(row.pattern, re.IGNORECASE | re.DOTALL)) for row in LEFTOVERS]


_STRANGE = re.compile(
    r'[^a-zA-Z0-9_.-]|\A\.|onflict|\.te?mp\.'
    r'|-(?:DESKTOP|LAPTOP|WIN)-|\.variant-|_(?:BACKUP|BASE|LOCAL|REMOTE)_[0-9]|-checkpoint\.',
    re.IGNORECASE,
)
"""What a name with the extension of data has if it is in the table."""


@lru_cache(maxsize=4)  # two questions are asked of a name, one after the other
def find_left_over(name: str) -> tuple[Left, str] | None:
    """Find out what is left where a file has this name, and of which file; '' where nothing tells.

    >>> find_left_over('spikes.times.npy.6eF1b2A0')
    (<Left.UNFINISHED: 'a copy that a program has not finished'>, 'spikes.times.npy')
    >>> find_left_over('spikes.times.npy')
    """
    if is_plain(name):
        return None
    for row, pattern in _patterns():
        if match := pattern.fullmatch(name):
            parts = match.groupdict()
            stem = parts.get('stem')
            return row.left, f'{stem}.{parts["extension"]}' if stem else parts.get('name') or ''
    return None


def is_left_over(name: str) -> bool:
    """Tell whether a file with the name of a dataset is what is left of another one.

    >>> is_left_over('spikes.times.npy.part'), is_left_over('ephys.raw.part')
    (True, False)
    """
    found = find_left_over(name)
    if found is None or found[0] is Left.PLACEHOLDER:
        return False
    return (_has_data(found[1]) and is_dataset_name(found[1])) or is_left_over(found[1])  # or of what is left


def is_plain(name: str) -> bool:
    """Tell, at once, that a name is that of data, with nothing in it of what is in the table."""
    return _has_data(name) and not _STRANGE.search(name)


def _has_data(name: str) -> bool:
    return name[name.rfind('.') + 1 :].lower() in DATA


def find_placeholder(name: str) -> str:
    """Get the name of the file that a placeholder stands for; '' where a name is none.

    >>> find_placeholder('.spikes.times.npy.icloud'), find_placeholder('spikes.times.npy')
    ('spikes.times.npy', '')
    """
    found = find_left_over(name)
    is_one = found and found[0] is Left.PLACEHOLDER and (name.startswith('.') or _has_data(found[1]))
    return found[1] if found and is_one else ''
