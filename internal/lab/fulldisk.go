package lab

import (
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pkg/sftp"
)

// disk serves a home directory in which files can be created but not written, as on
// a disk with free inodes and no free blocks.
type disk struct{ home string }

func fullDisk(home string) sftp.Handlers {
	d := disk{home: home}
	return sftp.Handlers{FileGet: d, FilePut: d, FileCmd: d, FileList: d}
}

// real returns the file for the path of a request. Paths are absolute, and "/" is
// the home directory.
func (d disk) real(path string) string { return filepath.Join(d.home, filepath.Clean("/"+path)) }

type noSpace struct{ io.Closer }

func (noSpace) WriteAt([]byte, int64) (int, error) { return 0, syscall.ENOSPC }

// Fileread opens a file to read.
func (d disk) Fileread(r *sftp.Request) (io.ReaderAt, error) { return os.Open(d.real(r.Filepath)) }

// Filewrite creates a file that can't be written.
func (d disk) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	flags := os.O_WRONLY
	if r.Pflags().Creat {
		flags |= os.O_CREATE
	}
	if r.Pflags().Excl {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(d.real(r.Filepath), flags, 0o644)
	if err != nil {
		return nil, err
	}
	return noSpace{f}, nil
}

// Filecmd runs the commands that need no space.
func (d disk) Filecmd(r *sftp.Request) error {
	path := d.real(r.Filepath)
	switch r.Method {
	case "Setstat":
		if r.AttrFlags().Permissions {
			return os.Chmod(path, r.Attributes().FileMode())
		}
		return nil
	case "Mkdir":
		return os.Mkdir(path, 0o755)
	case "Remove", "Rmdir":
		return os.Remove(path)
	case "Rename", "PosixRename":
		return os.Rename(path, d.real(r.Target))
	}
	return sftp.ErrSSHFxOpUnsupported
}

// Filelist returns one file; directories are not listed.
func (d disk) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	if r.Method != "Stat" {
		return nil, sftp.ErrSSHFxOpUnsupported
	}
	info, err := os.Lstat(d.real(r.Filepath))
	if err != nil {
		return nil, err
	}
	return oneFile{info}, nil
}

type oneFile struct{ info os.FileInfo }

// ListAt returns the one entry.
func (o oneFile) ListAt(list []os.FileInfo, offset int64) (int, error) {
	if offset > 0 || len(list) == 0 {
		return 0, io.EOF
	}
	list[0] = o.info
	return 1, io.EOF
}
