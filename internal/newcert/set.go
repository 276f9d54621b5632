package newcert

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// p12Suffix is the suffix of the agent's file in the examples. The files beside it have
// the same name with another suffix.
const p12Suffix = ".p12.b64"

// Set is a set of new certificates or certificate requests. Call Check, then Make, then
// Write.
type Set struct {
	Items    []*Item
	Requests bool     // keys and requests for an authority instead of certificates
	Subject  string   // of each; {name} stands for the item's name
	Names    []string // DNS names of each request; {name} as in Subject
	Life     time.Duration
	Bits     int // of each RSA key
	// Next is the operator's next step; "": that of one certificate for the fleet.
	Next string
}

// Item is one new certificate or request.
type Item struct {
	Host string // "" for the whole fleet
	Path string // of the agent's file
	Name string // value of {name} in the subject

	Certificate  *certificate.Certificate // nil before Make, and for a request
	public       []byte
	key, request []byte
}

// ForFleet returns the one item of a certificate for the whole fleet, at path.
func ForFleet(path string) []*Item {
	i := &Item{Path: path}
	i.Name = filepath.Base(i.stem())
	return []*Item{i}
}

// PerHost returns an item for each host, at the file that the host's certificate names
// in the inventory. The error is a problem of class usage.
func PerHost(hosts []inventory.Host) ([]*Item, error) {
	const write = "write certificate: certs/{name}.p12.b64 in the inventory"
	items, taken := make([]*Item, len(hosts)), map[string]string{}
	for n, h := range hosts {
		items[n] = &Item{Host: h.Name, Path: h.Certificate, Name: h.Name}
		switch other, there := taken[h.Certificate]; {
		case h.CertificateCommand != "":
			return nil, usage("the certificate of "+h.Name+" comes from a command", "store its new version there, or "+write)
		case h.Certificate == "":
			return nil, usage("the inventory names no certificate for "+h.Name, write)
		case azurecloud.InVault(h.Certificate):
			return nil, usage("the certificate of "+h.Name+" comes from a Key Vault: "+h.Certificate, "create its new version there, or "+write)
		case there:
			return nil, usage(fmt.Sprintf("%s and %s have the same certificate file in the inventory", other, h.Name), write)
		}
		taken[h.Certificate] = h.Name
	}
	return items, nil
}

// stem returns the path without its suffix, for the names of the files beside it.
func (i *Item) stem() string { return strings.TrimSuffix(i.Path, p12Suffix) }

// Files returns the two files of an item: the agent's file and its public part, or the
// key and the request.
func (s *Set) Files(i *Item) (first, second File) {
	if s.Requests {
		return File{i.stem() + ".key", i.key, 0o600}, File{i.stem() + ".csr", i.request, 0o644}
	}
	return File{i.Path, i.Certificate.Canonical(), 0o600}, File{i.stem() + ".cer", i.public, 0o644}
}

func (s *Set) files() []File {
	var files []File
	for _, i := range s.Items {
		first, second := s.Files(i)
		files = append(files, first, second)
	}
	return files
}

// Check returns a problem of class usage if a file can't be written, or exists and force
// is false. It writes nothing.
func (s *Set) Check(force bool) error { return checkPlaces(s.files(), force) }

// Make generates the keys and certificates or requests in memory, on all processors. An
// invalid subject is an error of class certificate.
func (s *Set) Make(now time.Time) error {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range s.Items {
		group.Go(func() error { return s.make(i, now) })
	}
	return group.Wait()
}

func (s *Set) make(i *Item, now time.Time) error {
	subject, err := certificate.ParseSubject(i.named([]string{s.Subject})[0])
	if err != nil {
		return err
	}
	if s.Requests {
		i.key, i.request, err = certificate.NewRequest(subject, i.named(s.Names), s.Bits)
		return err
	}
	i.Certificate, i.public, err = certificate.New(subject, s.Bits, s.Life, now)
	return err
}

// named fills in the item's name.
func (i *Item) named(texts []string) []string {
	filled := make([]string, len(texts))
	for n, text := range texts {
		filled[n] = strings.ReplaceAll(text, "{name}", i.Name)
	}
	return filled
}

// Write writes the files of all items, or none. The error is a problem of class usage.
func (s *Set) Write(force bool) error {
	if err := Write(s.files(), force); err != nil {
		return usage("the files can't be written: "+err.Error(), "name files in a folder that you may write")
	}
	return nil
}

// NextStep returns the operator's next step.
func (s *Set) NextStep() string {
	if s.Next != "" {
		return s.Next
	}
	first, second := s.Files(s.Items[0])
	if s.Requests {
		return fmt.Sprintf("have your authority sign %s, then: aoifleet certificate pack --cert CERTIFICATE --key %s --out %s",
			display.Arg(second.Path), display.Arg(first.Path), display.Arg(s.Items[0].Path))
	}
	return "az ad app credential reset --id CLIENT_ID --append --cert " + display.Arg("@"+second.Path)
}
