// Package devlab is a fleet of simulated VMs at two sites for a first look: with a folder for the
// workstation, one for the control worker and one for each site's worker. The inventory in them is
// the same, but only the folder of a site has the key with which its VMs are logged in to.
package devlab

import (
	"bytes"
	"context"
	_ "embed" // of the inventory
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/internal/lab"
)

// Sites are the two sites.
var Sites = []string{"london", "paris"}

// VMs is how many VMs each site has.
const VMs = 6

// VM returns the name of a VM of a site, counted from 0, such as london-sftp-01.
func VM(site string, i int) string { return fmt.Sprintf("%s-sftp-%02d", site, i+1) }

// Lab is a running fleet.
type Lab struct {
	Dir    string                // absolute
	Fleets map[string]*lab.Fleet // by site
}

// Start starts a fleet in dir, which must be new or empty. Close must be called if there is no error.
// notice gets, from any goroutine, errors that no caller sees, such as of a file of faults.
func Start(ctx context.Context, dir string, notice func(string)) (_ *Lab, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s is not a new or empty folder", dir), err)
	}
	l := &Lab{Dir: dir, Fleets: map[string]*lab.Fleet{}}
	opts := lab.Options{Machines: VMs, Window: time.Second, Notice: notice}
	for _, site := range Sites {
		opts.Dir = filepath.Join(dir, "vms", site)
		opts.Name = func(i int) string { return VM(site, i) }
		if l.Fleets[site], err = lab.Start(ctx, opts); err == nil { // the sites have the same certificates
			opts.Live, opts.New, err = certificates(l.Fleets[site])
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	if err := l.writeFolders(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close ends the VMs. Their files stay.
func (l *Lab) Close() error {
	var errs []error
	for _, f := range l.Fleets {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Inventory returns the path of the inventory of the workstation or of a site.
func (l *Lab) Inventory(who string) string { return filepath.Join(l.Dir, who, "inventory.yaml") }

// Keys returns the path of the payload keys of the workstation, of the control worker ("control") or
// of a site.
func (l *Lab) Keys(who string) string { return filepath.Join(l.Dir, who, "payload-keys") }

func certificates(f *lab.Fleet) (live, fresh []byte, err error) {
	live, errLive := os.ReadFile(f.CertificateFile(lab.OldCertificate))
	fresh, errFresh := os.ReadFile(f.CertificateFile(lab.NewCertificate))
	return live, fresh, errors.Join(errLive, errFresh)
}

// writeFolders writes what each program has. The workstation can check what a VM's host key is, but
// has no key to log in with, and no payload key of a site.
func (l *Lab) writeFolders() error {
	ring, err := newKeys(append([]string{"lab"}, Sites...))
	if err != nil {
		return err
	}
	inventory, err := l.inventory()
	if err != nil {
		return err
	}
	first := l.Fleets[Sites[0]]
	_, certificate, err := certificates(first)
	if err != nil {
		return err
	}
	known, all := map[string][]byte{}, []byte(nil)
	for _, site := range Sites {
		if known[site], err = os.ReadFile(l.Fleets[site].KnownHostsFile()); err != nil {
			return err
		}
		all = append(all, known[site]...)
	}
	files := map[string][]byte{"control/payload-keys": ring["lab"], "workstation/payload-keys": ring["lab"], "workstation/known_hosts": all}
	for _, site := range Sites {
		if files[site+"/id_ed25519"], err = os.ReadFile(l.Fleets[site].IdentityFile()); err != nil {
			return err
		}
		files["control/payload-keys"] = append(bytes.Clone(files["control/payload-keys"]), ring[site]...)
		files[site+"/known_hosts"], files[site+"/payload-keys"] = known[site], ring[site]
	}
	for _, who := range append([]string{"workstation"}, Sites...) {
		files[who+"/inventory.yaml"], files[who+"/certs/new.p12.b64"] = inventory, certificate
	}
	return l.write(files)
}

func (l *Lab) write(files map[string][]byte) error {
	var errs []error
	for name, text := range files {
		path := filepath.Join(l.Dir, filepath.FromSlash(name))
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, text, 0o600))
	}
	return errors.Join(errs...)
}

// newKeys returns lines of new payload keys: "lab", and site-NAME for each site.
func newKeys(names []string) (map[string][]byte, error) {
	lines := map[string][]byte{}
	for i, name := range names {
		key := name
		if i > 0 {
			key = "site-" + name
		}
		line, err := codec.NewKey(key)
		if err != nil {
			return nil, err
		}
		lines[name] = []byte(line)
	}
	return lines, nil
}

//go:embed inventory.yaml.tmpl
var inventoryText string

// inventory returns the inventory. Its files are named relative to it, so that each folder has its own.
func (l *Lab) inventory() ([]byte, error) {
	type host struct{ Name, Host, Port string }
	sites := map[string][]host{} // a template visits it in the order of the names
	for site, f := range l.Fleets {
		for _, m := range f.Machines() {
			address, port, err := net.SplitHostPort(m.Addr)
			if err != nil {
				return nil, err
			}
			sites[site] = append(sites[site], host{m.Name, address, port})
		}
	}
	var out bytes.Buffer
	err := template.Must(template.New("inventory").Parse(inventoryText)).Execute(&out, map[string]any{"User": lab.LoginUser, "Sites": sites})
	return out.Bytes(), err
}
