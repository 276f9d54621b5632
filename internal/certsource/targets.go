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

// parallel is the number of certificates fetched at once: most of each fetch is waiting.
const parallel = 16

// sources collects the certificates of a run, each read once.
type sources struct {
	read     map[string]*certificate.Certificate // by source; nil: it has a problem, or was not fetched
	problems []*problem.Error
	refusals []*azure.Error      // of vaults
	unnamed  []string            // hosts without a source
	order    []string            // of the keys of notes
	notes    map[string][]string // remark → the sources that it is about
}

// ReadTargets reads the certificate of every target and sets its Source and
// Certificate. override, if not "", is the source for all. It contacts vaults only if all
// files are valid. The error lists all problems; the certificates that could be read
// are set in any case. A host without a certificate is no error if another has one:
// whether it needs one is known once it is observed.
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

// file reads the certificate in a file, once.
func (r *Reader) file(s *sources, path string) error {
	if _, done := s.read[path]; done {
		return nil
	}
	cert, err := certificate.ReadFile(path, r.Now)
	return s.add(path, cert, err)
}

// fetchAll fetches certificates from vaults, several at once.
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
	var outage atomic.Bool // Azure is unreachable: do not wait for it again
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, ref := range refs {
		r.say(fmt.Sprintf("fetching %s", ref))
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
	_ = group.Wait() // each error is in errs
	for i, ref := range refs {
		if certs[i] == nil && errs[i] == nil {
			continue // skipped
		}
		if err := s.add(ref.String(), certs[i], errs[i]); err != nil {
			return err
		}
	}
	return s.failure()
}

// reference parses a source in a vault and replaces it with its canonical form. It
// reports whether the source is new and must be fetched.
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

// add records the certificate of a source, or the error. It returns an error that is
// neither about the certificate nor from Azure.
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
