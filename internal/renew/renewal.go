package renew

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Options are the choices of a renewal.
type Options struct {
	Policy
	Keys   string            // the folder of the inventory's certificates; "": all are in Key Vaults
	Life   time.Duration     // of a new certificate in that folder
	Signer string            // thumbprint of what signs in as the application; "": the operator does
	Client string            // client id of an application that may get its first certificate; "": none
	Ignore []string          // thumbprints of registered certificates that are not this fleet's
	Wait   time.Duration     // until Entra knows a certificate
	Hosts  map[string]bool   // which may be rotated, by name; all are checked
	Say    func(line string) // shows what was done
}

// Certificate is one certificate of the inventory in a renewal.
type Certificate struct {
	Standing
	Done    []Kind            // the steps that this run has taken
	Old     *certificate.Info // what the source had when the run began; nil: nothing
	Retired []string          // thumbprints

	source   source
	kept     kept
	places   []int // of its hosts, in the entries
	selected bool  // one of its hosts may be rotated
	// What is known about a candidate is known about one thumbprint: its file may be
	// replaced at any time.
	trusted, refused, added string
}

// Name returns a short name to show.
func (c *Certificate) Name() string {
	if azurecloud.InVault(c.Source) {
		return display.MaskLines(c.Source)
	}
	return display.MaskLines(filepath.Base(c.Source))
}

// Renewal is the renewal of the certificates of a fleet. Close it after use.
type Renewal struct {
	Certificates []*Certificate
	Entries      []rollout.Entry // of all hosts, from Look

	options   Options
	fleet     *fleet.Fleet
	registrar *verify.Registrar
	reader    *certsource.Reader
	folder    *folder
	listings  map[string]*verify.Listing // by client id; nil: Graph was not asked
}

// Open reads the certificates of a fleet, which was opened for all hosts of its inventory
// without certificates. No host is contacted. An error is a usage error unless its class says
// otherwise.
func Open(ctx context.Context, f *fleet.Fleet, registrar *verify.Registrar, o Options) (*Renewal, error) {
	r := &Renewal{options: o, fleet: f, registrar: registrar, reader: f.Reader()}
	if o.Keys != "" {
		var err error
		if r.folder, err = openFolder(o.Keys); err != nil {
			return nil, err
		}
	}
	say := r.reader.Say
	r.reader.Say = nil // a night with nothing to do prints one line
	err := r.open(ctx)
	r.reader.Say = say
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Renewal) open(ctx context.Context) error {
	known, paths := map[string]*Certificate{}, map[string]string{}
	for i := range r.fleet.Targets {
		t := &r.fleet.Targets[i]
		switch t.Source = t.Host.Certificate; {
		case t.Host.CertificateCommand != "":
			return usage("make the new one there, then: aoifleet certificate register, aoifleet rotate", "the certificate of %s is from a command: renew does not know its store", t.Host.Name)
		case t.Source == "":
			return usage("set certificate: in the inventory", "no certificate is named for %s", t.Host.Name)
		}
		key, err := keyOf(t.Source)
		if err != nil {
			return err
		}
		c := known[key]
		if c == nil {
			from, err := r.sourceOf(t.Source)
			if err == nil {
				err = distinct(paths, from, t.Source)
			}
			if err != nil {
				return err
			}
			c = &Certificate{Standing: Standing{Source: t.Source}, source: from}
			if err := r.read(ctx, c); err != nil {
				c.fail(err)
			}
			known[key], c.Old = c, c.Named
			r.Certificates = append(r.Certificates, c)
		}
		t.Source = c.Source
		t.Certificate = c.kept.named // on a host without openssl it is known by its digest
		c.places = append(c.places, i)
		c.selected = c.selected || r.options.Hosts[t.Host.Name]
	}
	if !slices.ContainsFunc(r.Certificates, func(c *Certificate) bool { return c.Problem == nil }) {
		return r.Certificates[0].Problem
	}
	return nil
}

// Close ends the lock of the folder.
func (r *Renewal) Close() {
	if r.folder != nil {
		r.folder.close()
	}
}

// Look checks all hosts.
func (r *Renewal) Look(ctx context.Context) {
	r.Entries = r.fleet.Status(ctx)
	for _, c := range r.Certificates {
		for _, i := range c.places {
			c.add(r.Entries[i])
		}
	}
	for _, c := range r.Certificates {
		c.Since = r.since(c)
	}
}

// add enters what a host has.
func (c *Certificate) add(e rollout.Entry) {
	switch {
	case e.Outcome == rollout.NotApplicable:
		return
	case e.Outcome != "":
		c.Unseen = append(c.Unseen, e.Host.Name)
		return
	}
	_, open := e.Seen.Unfinished()
	now := Live{Absent: e.Seen.File.Kind == "missing", Open: open || e.Seen.Unit.Active == "active" && e.Seen.ProcessIsOlder()}
	if live := e.Live(); live != nil {
		now.Thumbprint, now.NotAfter = live.Thumbprint, live.NotAfter
	}
	i := slices.IndexFunc(c.Live, func(l Live) bool {
		return l.Thumbprint == now.Thumbprint && l.Absent == now.Absent && l.Open == now.Open && l.NotAfter.Equal(now.NotAfter)
	})
	if i < 0 {
		i, c.Live = len(c.Live), append(c.Live, now)
	}
	c.Live[i].Hosts = append(c.Live[i].Hosts, e.Host.Name)
}

// Next returns the next step of a certificate.
func (r *Renewal) Next(c *Certificate) Step {
	if !c.selected || len(c.Live)+len(c.Unseen) == 0 { // all with managed identities
		return Step{Kind: Nothing}
	}
	candidate := c.Candidate(r.fleet.Started, r.options.Policy)
	c.Accepted = candidate != nil && candidate.Thumbprint == c.trusted
	c.Refused = candidate != nil && candidate.Thumbprint == c.refused
	r.compare(c, candidate)
	s := Next(c.Standing, r.fleet.Started, r.options.Policy)
	if s.Kind == Rotate && !slices.ContainsFunc(s.Hosts, func(name string) bool { return r.options.Hosts[name] }) {
		return Step{Kind: Nothing}
	}
	return s
}

// Probe takes the steps that change nothing.
func (r *Renewal) Probe(ctx context.Context) { r.carry(ctx, Ask, List) }

// Prepare takes all steps until the rotation. A certificate that fails does not stop the
// others. Graph is asked again: the operator may have taken a while to agree.
func (r *Renewal) Prepare(ctx context.Context) {
	for _, c := range r.Certificates {
		c.Listed = false
	}
	r.carry(ctx, Ask, List, Make, Register, Await, Place, Retire)
}

// carry takes the steps of some kinds, the earliest first, those of one kind together. Each
// brings its certificate to a later step, or ends with its Problem.
func (r *Renewal) carry(ctx context.Context, kinds ...Kind) {
	for ctx.Err() == nil {
		var batch []*Certificate
		first := Rotate
		for _, c := range r.Certificates {
			switch kind := r.Next(c).Kind; {
			case !slices.Contains(kinds, kind) || kind > first:
			case kind < first:
				first, batch = kind, []*Certificate{c}
			default:
				batch = append(batch, c)
			}
		}
		if batch == nil {
			return
		}
		r.do(ctx, first, batch)
	}
}

func (r *Renewal) do(ctx context.Context, kind Kind, batch []*Certificate) {
	switch kind {
	case Ask:
		r.ask(ctx, batch, 0, false)
	case Await:
		r.ask(ctx, batch, r.options.Wait, true)
	case List:
		r.list(ctx)
	case Register:
		r.register(ctx, batch)
	case Make, Place, Retire:
		for _, c := range batch {
			if ctx.Err() == nil {
				r.alone(ctx, kind, c)
			}
		}
		return
	}
	for _, c := range batch {
		if c.Problem == nil && kind != Ask && kind != List {
			c.Done = append(c.Done, kind)
		}
	}
}

// alone takes a step that is about the source of one certificate alone.
func (r *Renewal) alone(ctx context.Context, kind Kind, c *Certificate) {
	var err error
	before := c.candidate()
	switch kind {
	case Make: // another machine, or the vault by itself, may have done it since
		if err = r.read(ctx, c); err == nil && !c.changed(before) {
			err = c.source.make(ctx, r.fleet.Started)
		} else if err == nil {
			return
		}
	case Place:
		err = c.source.place()
	case Retire:
		err = r.retire(ctx, c)
	}
	if err == nil {
		err = r.read(ctx, c)
	}
	switch {
	case err != nil:
		c.fail(err)
	case kind == Make && !c.changed(before):
		c.fail(errors.New("the new certificate has disappeared"))
	case kind == Make:
		made := c.candidate().Leaf
		c.refused = made.Thumbprint // Entra can't know it
		r.say(c, "made %s, until %s", made.Thumbprint, made.NotAfter.Format(time.DateOnly))
	case kind == Place:
		r.say(c, "%s is in its place", c.Named.Thumbprint)
	}
	if c.Problem == nil {
		c.Done = append(c.Done, kind)
	}
}

// changed reports whether the source has another candidate than before.
func (c *Certificate) changed(before *certificate.Certificate) bool {
	now := c.candidate()
	return now != nil && (before == nil || now.Leaf.Thumbprint != before.Leaf.Thumbprint)
}

func (r *Renewal) say(c *Certificate, format string, args ...any) {
	r.options.Say(c.Name() + ": " + fmt.Sprintf(format, args...))
}

// fail ends the renewal of a certificate in this run.
func (c *Certificate) fail(err error) {
	if c.Problem = problem.As(err); c.Problem == nil {
		c.Problem = &problem.Error{Class: problem.Internal, Message: err.Error(), Err: err}
	}
	if errors.Is(err, context.Canceled) {
		c.Problem.Class = problem.Interrupted
	}
}

// Rotation selects the hosts of the certificates that are to be rotated, so that the fleet's
// Rotate is about these, and returns their number.
func (r *Renewal) Rotation() int {
	with := map[string]*certificate.Certificate{}
	for _, c := range r.Certificates {
		if r.Next(c).Kind == Rotate {
			with[c.Source] = c.kept.named
		}
	}
	r.fleet.Targets = slices.DeleteFunc(r.fleet.Targets, func(t rollout.Target) bool {
		return with[t.Source] == nil || !r.options.Hosts[t.Host.Name]
	})
	for i := range r.fleet.Targets {
		r.fleet.Targets[i].Certificate = with[r.fleet.Targets[i].Source]
	}
	return len(r.fleet.Targets)
}

// Hosts returns the number of hosts with a certificate.
func (c *Certificate) Hosts() (n int) {
	for _, l := range c.Live {
		n += len(l.Hosts)
	}
	return n + len(c.Unseen)
}

// Unseen returns the hosts that could not be checked.
func (r *Renewal) Unseen() (list []string) {
	for _, c := range r.Certificates {
		list = append(list, c.Unseen...)
	}
	return list
}

// Changes reports whether a step is left that changes something, and whether one is before
// the rotation.
func (r *Renewal) Changes() (some, before bool) {
	for _, c := range r.Certificates {
		if s := r.Next(c); s.Changes() || s.Kind == Await {
			some, before = true, before || s.Kind != Rotate
		}
	}
	return some, before
}

// Problems returns why certificates stopped.
func (r *Renewal) Problems() (list []*problem.Error) {
	for _, c := range r.Certificates {
		if s := r.Next(c); s.Problem != nil {
			list = append(list, s.Problem)
		}
	}
	return list
}
