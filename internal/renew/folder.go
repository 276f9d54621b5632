package renew

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/newcert"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// keyBits is the size of new RSA keys.
const keyBits = 3072

// suffix is that of the files of certificates.
const suffix = ".p12.b64"

// folder is the private folder of certificates and their next ones, locked for this process.
type folder struct {
	path string
	lock *os.File
}

func usage(hint, format string, args ...any) error {
	return &problem.Error{Class: problem.Usage, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// openFolder locks the folder of --keys. The error is a problem of class usage if others may
// read or write it, and of class locked if another renewal is using it.
func openFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, usage("name a folder of your own", "--keys: %s", localfile.Reason(err))
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usage(display.MakePrivateFolder(path), "there is no folder %s", path)
	case err != nil:
		return nil, usage("name a folder of your own", "--keys %s: %s", path, localfile.Reason(err))
	case !info.IsDir():
		return nil, usage("name the folder itself", "%s is not a folder", path)
	case !isPrivate(path, info):
		return nil, usage(display.MakeFolderPrivate(path)+", as its owner, or name a folder of your own", "others may read or write %s, which is to hold private keys, or it belongs to another user", path)
	}
	lock, err := os.OpenFile(filepath.Join(path, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, usage("make the folder writable", "--keys %s: %s", path, localfile.Reason(err))
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close()
		return nil, problem.New(problem.Locked, "wait until it ends", "another renew is using %s", path)
	}
	return &folder{path, lock}, nil
}

// close ends the lock.
func (f *folder) close() { _ = f.lock.Close() }

// inFolder is a certificate in the folder: NAME.p12.b64, which the inventory names, and at
// most one that is to take its place, NAME.next.p12.b64. The one that it replaced is
// NAME.previous.p12.b64.
type inFolder struct {
	path string
	life time.Duration // of a new certificate
}

func (f inFolder) with(kind string) string { return beside(f.path, kind) }

func beside(path, kind string) string { return strings.TrimSuffix(path, suffix) + kind + suffix }

func (f inFolder) paths() []string { return []string{f.path, f.with(".next"), f.with(".previous")} }

// read returns what the folder has.
func (f inFolder) read(context.Context) (k kept, err error) {
	if k.named, err = inspect(f.path); err != nil {
		return k, err
	}
	if k.next, err = inspect(f.with(".next")); err != nil {
		return k, err
	}
	former, err := inspect(f.with(".previous"))
	if former != nil {
		k.former = []string{former.Leaf.Thumbprint}
	}
	return k, err
}

// inspect reads a certificate, nil if there is no file.
func inspect(path string) (*certificate.Certificate, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && !info.Mode().IsRegular(): // a link could lead out of the private folder
		return nil, problem.New(problem.Certificate, "put the certificate itself there", "%s is not a regular file", path)
	}
	return certificate.InspectFile(path)
}

// make makes the next certificate. The file is on disk when it returns, and replaces none.
func (f inFolder) make(_ context.Context, now time.Time) error {
	item := &newcert.Item{Path: f.with(".next"), Name: strings.TrimSuffix(filepath.Base(f.path), suffix)}
	set := newcert.Set{Items: []*newcert.Item{item}, Subject: "CN={name}", Life: f.life, Bits: keyBits}
	if err := set.Make(now); err != nil {
		return err
	}
	file, _ := set.Files(item)
	if err := newcert.Write([]newcert.File{file}, false); err != nil {
		return problem.New(problem.Disk, "", "the new certificate can't be stored: %v", err)
	}
	return syncFolder(filepath.Dir(f.path))
}

// place puts the next certificate in the place that the inventory names, once Azure accepts
// it and before the first host gets it: rotate, status and plan then agree with renew at any
// time. It can be repeated after an interruption.
func (f inFolder) place() error {
	former, err := localfile.ReadRegular(f.path, certificate.MaxSize)
	if err == nil {
		err = localfile.Write(f.with(".previous"), former, 0o600)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.Rename(f.with(".next"), f.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(f.path))
	}
	if err != nil {
		return problem.New(problem.Disk, "", "the new certificate can't be put in its place: %v", err)
	}
	return nil
}

// forget removes the key of a certificate that was retired.
func (f inFolder) forget() error { return os.Remove(f.with(".previous")) }
