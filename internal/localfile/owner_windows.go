package localfile

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// exposed returns who else may use a file.
func exposed(path string, _ fs.FileInfo) string {
	others, err := Others(path)
	if err != nil || len(others) == 0 {
		return ""
	}
	return "access for " + strings.Join(others, ", ")
}

// Others returns who besides the user, the system and the administrators has rights to a file or
// a folder.
func Others(path string) ([]string, error) {
	self, err := self()
	if err != nil {
		return nil, err
	}
	descriptor, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return nil, err
	}
	return othersIn(descriptor.String(), self), nil
}

func self() (string, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "", err
	}
	return user.User.Sid.String(), nil
}

// create creates a file that only the user, the system and the administrators may use, whatever
// the folder passes on: Windows ignores a mode of 0600.
func create(folder string) (*os.File, error) {
	name := filepath.Join(folder, ".aoifleet-"+rand.Text())
	handle, err := createPrivate(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(handle), name), nil
}

func createPrivate(name string) (windows.Handle, error) {
	self, err := self()
	if err != nil {
		return 0, err
	}
	descriptor, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;" + self + ")")
	if err != nil {
		return 0, err
	}
	wide, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	rights := windows.SecurityAttributes{SecurityDescriptor: descriptor}
	rights.Length = uint32(unsafe.Sizeof(rights))
	return windows.CreateFile(wide, windows.GENERIC_READ|windows.GENERIC_WRITE, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, &rights,
		windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
}

// open opens a file, and standard input by the name that it has elsewhere.
func open(path string) (*os.File, error) {
	if !inherited(path) {
		return os.Open(path)
	}
	var again windows.Handle // the caller closes it
	input, err := windows.GetStdHandle(windows.STD_INPUT_HANDLE)
	if err == nil {
		err = windows.DuplicateHandle(windows.CurrentProcess(), input, windows.CurrentProcess(), &again, 0, false, windows.DUPLICATE_SAME_ACCESS)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(again), path), nil
}

// stat describes what open opens.
func stat(path string) (fs.FileInfo, error) {
	if !inherited(path) {
		return os.Stat(path)
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// inherited reports whether path is standard input.
func inherited(path string) bool { return path == "/dev/stdin" }
