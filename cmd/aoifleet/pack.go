package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/certificate"
)

type packFlags struct {
	cert, key, out string
	force          bool
}

func (a *app) certificatePack(flags packFlags) error {
	if flags.cert == "" || flags.key == "" || flags.out == "" {
		return usage("pack needs --cert, --key and --out", "aoifleet certificate pack --cert C.pem --key K.pem --out FILE")
	}
	if err := flags.checkOut(); err != nil {
		return err
	}
	c, err := certificate.PackFiles(flags.cert, flags.key, time.Now())
	if err != nil {
		return err
	}
	a.signals.heed() // a key half written must not stay behind
	if err := writeAll([]newFile{{flags.out, c.Canonical(), 0o600}}, flags.force); err != nil {
		return usage(flags.out+": can't be written: "+err.Error(), "name a file in a folder that you may write with --out")
	}
	fmt.Fprintf(a.stderr, "wrote %s: %s, thumbprint %s\n", printable(flags.out), c.Leaf.Subject, c.Leaf.Thumbprint)
	return nil
}

// checkOut refuses a place where the file can't or must not be.
func (flags packFlags) checkOut() error {
	if flags.out == "-" {
		return usage("a private key is not written to standard output", "name a file with --out")
	}
	if folder := filepath.Dir(flags.out); !isFolder(folder) {
		return usage(flags.out+": there is no such folder", "mkdir -p "+shellescape.Quote(folder))
	}
	info, err := os.Stat(flags.out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return usage(err.Error(), "name another file with --out")
	case info.IsDir():
		return usage(flags.out+" is a folder", "name a file in it: --out "+shellescape.Quote(filepath.Join(flags.out, "new.p12.b64")))
	case !info.Mode().IsRegular():
		return usage(flags.out+" is not a regular file", "name another file with --out")
	}
	for _, source := range []string{flags.cert, flags.key} {
		if from, err := os.Stat(source); err == nil && os.SameFile(from, info) {
			return usage("--out would overwrite "+source+", which is to be packed", "name another file with --out")
		}
	}
	if !flags.force {
		return usage(flags.out+" exists already", "use --force to replace it")
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
