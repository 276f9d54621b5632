package renew

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
)

// source is where one certificate and the one after it are kept.
type source interface {
	read(ctx context.Context) (kept, error)
	make(ctx context.Context, now time.Time) error
	place() error
	forget() error   // of what was retired
	paths() []string // of its files
}

// kept is what a source has.
type kept struct {
	named, next *certificate.Certificate
	former      []string // thumbprints of those that named has replaced
}

// keyOf returns the same text for two names of one source: a Key Vault ignores their case.
func keyOf(name string) (string, error) {
	if !azurecloud.InVault(name) {
		return name, nil
	}
	ref, err := azure.ParseReference(name)
	return strings.ToLower(ref.String()), err
}

// distinct enters the files of a source in taken, by path. The error is that they are also those of another.
func distinct(taken map[string]string, from source, name string) error {
	for _, path := range from.paths() {
		if other := taken[path]; other != "" {
			return usage("name one of the two otherwise", "%s and %s would share the file %s", other, name, filepath.Base(path))
		}
		taken[path] = name
	}
	return nil
}

// sourceOf returns the source that an inventory names.
func (r *Renewal) sourceOf(name string) (source, error) {
	switch {
	case azurecloud.InVault(name):
		ref, err := azure.ParseReference(name)
		if err == nil && ref.Version != "" {
			err = usage("write it as keyvault://VAULT/NAME", "%s names a version: the next one would not be used", name)
		}
		return inVault{ref, r.reader}, err
	case r.folder == nil:
		return nil, usage("keep the certificates in a private folder that stays between two runs: --keys "+filepath.Dir(name),
			"%s is a file: a runner that starts empty would make another certificate each time", name)
	case filepath.Dir(name) != r.folder.path:
		return nil, usage("write certificate: "+filepath.Join(r.folder.path, filepath.Base(name)), "%s is not in the folder of --keys, %s", name, r.folder.path)
	}
	return inFolder{name, r.options.Life}, nil
}

// read reads the source of a certificate again.
func (r *Renewal) read(ctx context.Context, c *Certificate) error {
	got, err := c.source.read(ctx)
	if err != nil {
		return err
	}
	c.kept, c.Named, c.Next, c.Issued, c.Former = got, nil, nil, false, got.former
	c.Kept = len(got.former) > 0 && !azurecloud.InVault(c.Source)
	if c.Life = r.options.Life; got.named != nil {
		c.Named = &got.named.Leaf
		if azurecloud.InVault(c.Source) { // its policy says how long, and who issues it
			c.Life = c.Named.NotAfter.Sub(c.Named.NotBefore)
		} else {
			c.Issued = c.Named.Issuer != c.Named.Subject
		}
	}
	if got.next != nil {
		c.Next = &got.next.Leaf
	}
	return nil
}
