package certsource

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// parallel is how many certificates are fetched at the same time: most of the time of
// each is spent waiting.
const parallel = 16

// sources are those that a run needs, each read once.
type sources struct {
	read     map[string]*certificate.Certificate // nil: it has a problem, or was not fetched
	problems []*problem.Error
	refusals []*azure.Error      // of vaults
	unnamed  []string            // hosts for which none is named
	order    []string            // of notes
	notes    map[string][]string // what was odd → the sources
}

// ReadTargets reads the certificate of every target and sets its Source and
// Certificate; override, where it is not "", is the source of all. Vaults are asked
// once all else is known to be right. The error says all that is wrong; what could be
// read is set also then. A host without a certificate is no error where others have
// one: whether it needs one is known when it is seen.
func (r *Reader) ReadTargets(ctx context.Context, targets []rollout.Target, override string) error {
	s := &sources{read: map[string]*certificate.Certificate{}, notes: map[string][]string{}}
	defer func() {
		for i, t := range targets {
			targets[i].Certificate = s.read[t.Source]
		}
	}()
	var refs []azure.Reference
	for i := range targets {
		t := &targets[i]
		t.Source = cmp.Or(override, t.Host.Certificate)
		if t.Source == "" {
			s.unnamed = append(s.unnamed, t.Host.Name)
		} else if azurecloud.InVault(t.Source) {
			if ref, first := s.reference(&t.Source); first {
				refs = append(refs, ref)
			}
		} else if err := r.file(s, t.Source); err != nil {
			return err
		}
	}
	if len(s.unnamed) < len(targets) {
		s.unnamed = nil
	}
	if err := s.failure(); err != nil {
		return err
	}
	if err := r.fetchAll(ctx, s, refs); err != nil {
		return err
	}
	for _, note := range s.order {
		r.note(andMore(s.notes[note]) + " " + note)
	}
	return nil
}

// file reads a file that was not read yet.
func (r *Reader) file(s *sources, path string) error {
	if _, done := s.read[path]; done {
		return nil
	}
	cert, err := certificate.ReadFile(path, r.Now)
	return s.add(path, cert, err)
}

// fetchAll gets certificates from vaults.
func (r *Reader) fetchAll(ctx context.Context, s *sources, refs []azure.Reference) error {
	if len(refs) == 0 {
		return nil
	}
	if r.Offline {
		r.note("not fetched (--offline): " + andMore(texts(refs)))
		return nil
	}
	if err := r.Check(); err != nil {
		return err
	}
	certs, errs := make([]*certificate.Certificate, len(refs)), make([]error, len(refs))
	var outage atomic.Bool // no vault answers: that costs its time once
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, ref := range refs {
		r.say(fmt.Sprintf("getting %s", ref))
		group.Go(func() error {
			if outage.Load() {
				return nil
			}
			certs[i], errs[i] = r.Fetch(ctx, ref)
			if e := azure.AsError(errs[i]); e != nil && e.Class == problem.Unreachable && !e.Lasting {
				outage.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors have their places
	for i, ref := range refs {
		if certs[i] == nil && errs[i] == nil {
			continue // not asked
		}
		if err := s.add(ref.String(), certs[i], errs[i]); err != nil {
			return err
		}
	}
	return s.failure()
}

// reference parses a source that is a vault and writes it in its one form. It reports
// whether the source is new and to be fetched.
func (s *sources) reference(source *string) (azure.Reference, bool) {
	ref, err := azure.ParseReference(*source)
	if err == nil {
		*source = ref.String()
	}
	if _, done := s.read[*source]; done {
		return ref, false
	}
	s.read[*source] = nil
	if e := azure.AsError(err); e != nil {
		s.problems = append(s.problems, problem.New(problem.Certificate, e.Hint, "%s: %s", *source, e.Message))
	}
	return ref, err == nil
}

// add takes in the certificate of a source, or why there is none.
func (s *sources) add(source string, cert *certificate.Certificate, err error) error {
	s.read[source] = cert
	switch e := azure.AsError(err); {
	case problem.Is(err, problem.Certificate):
		s.problems = append(s.problems, problem.As(err))
	case e != nil:
		named := *e
		named.Message = source + ": " + e.Message
		s.refusals = append(s.refusals, &named)
	case err != nil:
		return err
	default:
		for _, note := range cert.Notes {
			if s.notes[note] == nil {
				s.order = append(s.order, note)
			}
			s.notes[note] = append(s.notes[note], source)
		}
	}
	return nil
}
