package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// shownProblems is how many bad certificates are named.
const shownProblems = 20

// fetchedAtOnce is how many certificates are fetched at the same time.
const fetchedAtOnce = 16

// certificates are those that a run needs, each read once from its source: a
// file, or keyvault://VAULT/NAME[/VERSION].
type certificates struct {
	read     map[string]*certificate.Certificate // nil: it has a problem, or was not fetched
	problems []*certificate.Problem
	refusals []*azure.Error      // of vaults
	unnamed  []string            // hosts for which none is named
	order    []string            // of notes
	notes    map[string][]string // what was odd → the sources
}

// readCertificates reads every certificate that the targets need, and says all
// that is wrong with them at once. What is in Key Vaults is fetched once all else
// is known to be right, and not at all where nothing is to be contacted.
func (f *fleet) readCertificates() error {
	c := certificates{read: map[string]*certificate.Certificate{}, notes: map[string][]string{}}
	var kept []azure.Reference
	defer func() { // also those beside one that can't be read: status compares with them
		for i, t := range f.targets {
			f.targets[i].Certificate = c.read[t.Host.Certificate]
		}
	}()
	for i := range f.targets {
		h := f.targets[i].Host
		h.Certificate = cmp.Or(f.app.certificateFile, h.Certificate)
		if h.Certificate == "" {
			c.unnamed = append(c.unnamed, h.Name)
			continue
		}
		if azure.IsReference(h.Certificate) {
			if ref, first := c.reference(&h.Certificate); first {
				kept = append(kept, ref)
			}
		} else if err := c.file(f, h.Certificate); err != nil {
			return err
		}
	}
	if len(c.unnamed) < len(f.targets) {
		c.unnamed = nil // whether they need one can be told when they are seen
	}
	if err := c.failure(); err != nil {
		return err
	}
	if err := f.fetch(&c, kept); err != nil {
		return err
	}
	for _, note := range c.order {
		fmt.Fprintf(f.app.stderr, "note: %s %s\n", printable(andMore(c.notes[note])), note)
	}
	return nil
}

// file reads a file that was not read yet.
func (c *certificates) file(f *fleet, path string) error {
	if _, done := c.read[path]; done {
		return nil
	}
	cert, err := certificate.ReadFile(path, f.started)
	return c.add(path, cert, err)
}

// reference understands a source that is a vault, and writes it in one way. It
// tells whether the source is new and to be fetched.
func (c *certificates) reference(source *string) (azure.Reference, bool) {
	ref, err := azure.ParseReference(*source)
	if err == nil {
		*source = ref.String()
	}
	if _, done := c.read[*source]; done {
		return ref, false
	}
	c.read[*source] = nil
	if e := azure.AsError(err); e != nil {
		c.problems = append(c.problems, &certificate.Problem{Path: *source, Message: e.Message, Hint: e.Hint})
	}
	return ref, err == nil
}

// add takes in what came of a source.
func (c *certificates) add(source string, cert *certificate.Certificate, err error) error {
	c.read[source] = cert
	var problem *certificate.Problem
	switch e := azure.AsError(err); {
	case errors.As(err, &problem):
		c.problems = append(c.problems, problem)
	case e != nil:
		named := *e
		named.Message = source + ": " + e.Message
		c.refusals = append(c.refusals, &named)
	case err != nil:
		return err
	default:
		for _, note := range cert.Notes {
			if c.notes[note] == nil {
				c.order = append(c.order, note)
			}
			c.notes[note] = append(c.notes[note], source)
		}
	}
	return nil
}

// fetch gets certificates from Key Vaults, as whoever runs this program. They are
// held in memory only.
func (f *fleet) fetch(c *certificates, refs []azure.Reference) error {
	a := f.app
	if len(refs) == 0 {
		return nil
	}
	if a.offline {
		fmt.Fprintf(a.stderr, "note: not fetched (--offline): %s\n", andMore(texts(refs)))
		return nil
	}
	client, err := a.azureClient(f.inv.Azure, azure.Patience{})
	if err != nil {
		return err
	}
	certs, errs := make([]*certificate.Certificate, len(refs)), make([]error, len(refs))
	var away atomic.Bool // nobody answers: an outage is waited for once
	var group errgroup.Group
	group.SetLimit(fetchedAtOnce)
	for i, ref := range refs {
		fmt.Fprintf(a.stderr, "getting %s\n", ref)
		group.Go(func() error {
			if away.Load() {
				return nil
			}
			certs[i], errs[i] = a.fetchOne(client, ref, f.started)
			if e := azure.AsError(errs[i]); e != nil && e.Class == azure.Unreachable && !e.Lasting {
				away.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors have their places
	for i, ref := range refs {
		if certs[i] == nil && errs[i] == nil {
			continue // not asked
		}
		if err := c.add(ref.String(), certs[i], errs[i]); err != nil {
			return err
		}
	}
	return c.failure()
}

// readOne reads a certificate from a file or a vault.
func (a *app) readOne(source string, cloud azurecloud.Settings) (*certificate.Certificate, error) {
	client, err := a.azureClient(cloud, azure.Patience{})
	if err != nil {
		return nil, err
	}
	if !azure.IsReference(source) {
		return certificate.ReadFile(source, time.Now())
	}
	ref, err := azure.ParseReference(source)
	if err != nil {
		return nil, err
	}
	return a.fetchOne(client, ref, time.Now())
}

func (a *app) fetchOne(client *azure.Client, ref azure.Reference, now time.Time) (*certificate.Certificate, error) {
	file, err := client.Fetch(a.ctx, nil, ref)
	if err != nil {
		return nil, err
	}
	return certificateIn(file, ref, now)
}

func texts(refs []azure.Reference) []string {
	list := make([]string, len(refs))
	for i, ref := range refs {
		list[i] = ref.String()
	}
	return list
}

// failure is everything that is wrong, nil if nothing is; the hint is the first's.
func (c *certificates) failure() error {
	const hint = "set certificate: in the inventory, or use --certificate FILE"
	var lines []string
	hosts := strings.Join(inventory.Fold(c.unnamed), ", ")
	if len(c.unnamed) > 0 {
		lines = append(lines, fmt.Sprintf("no certificate is named for %s: %s", inventory.HostCount(len(c.unnamed)), hosts))
	}
	switch {
	case len(c.problems) == 0 && len(c.refusals) > 0:
		return c.refusal()
	case len(c.problems) == 0 && lines == nil:
		return nil
	case len(c.problems) == 0:
		return usage(lines[0], hint)
	case len(c.problems) == 1 && lines == nil:
		return c.problems[0]
	}
	lines = append(lines, messages(c.problems)...)
	return &certificate.Problem{Message: strings.Join(lines, "\n"), Hint: c.problems[0].Hint}
}

// refusal is what went wrong with vaults, as one error.
func (c *certificates) refusal() error {
	all := *c.refusals[0]
	all.Message = strings.Join(messages(c.refusals), "\n")
	return &all
}

func messages[E error](list []E) []string {
	var lines []string
	for i, e := range list {
		if i == shownProblems {
			return append(lines, fmt.Sprintf("and %d more", len(list)-i))
		}
		lines = append(lines, e.Error())
	}
	return lines
}

// andMore is the first of several sources, and how many there are beside it.
func andMore(sources []string) string {
	if len(sources) == 1 {
		return sources[0]
	}
	return fmt.Sprintf("%s and %d more:", sources[0], len(sources)-1)
}
