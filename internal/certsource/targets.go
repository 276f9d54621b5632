package certsource

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secret"
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
// Certificate. override, if not "", is the source for all. It contacts vaults and runs
// commands only if all files are valid. The error lists all problems; the certificates that could be read
// are set in any case. A host without a certificate is no error if another has one:
// whether it needs one is known once it is observed.
func (r *Reader) ReadTargets(ctx context.Context, targets []rollout.Target, override string) error {
	s := &sources{read: map[string]*certificate.Certificate{}, notes: map[string][]string{}}
	defer func() {
		for i, t := range targets {
			targets[i].Certificate = s.read[t.Source]
		}
	}()
	var jobs []job
	for i := range targets {
		job, err := r.source(s, &targets[i], override)
		if err != nil {
			return err
		}
		if job != nil {
			jobs = append(jobs, *job)
		}
	}
	if len(s.unnamed) < len(targets) {
		s.unnamed = nil
	}
	if err := s.failure(); err != nil {
		return err
	}
	if err := r.getAll(ctx, s, jobs); err != nil {
		return err
	}
	for _, note := range s.order {
		r.note(andMore(s.notes[note]) + " " + note)
	}
	return nil
}

// source sets the Source of a target and reads it if it is a new file. It returns the job of
// another new source.
func (r *Reader) source(s *sources, t *rollout.Target, override string) (*job, error) {
	t.Source = cmp.Or(override, t.Host.Certificate)
	switch command := t.Host.CertificateCommand; {
	case override == "" && command != "":
		line := strings.ReplaceAll(command, "{name}", t.Host.Name)
		t.Source, t.Command = "command: "+line, command
		if _, done := s.read[t.Source]; done {
			return nil, nil
		}
		s.read[t.Source] = nil
		return &job{t.Source, "running the certificate's ", true, func(ctx context.Context) (*certificate.Certificate, error) { return r.run(ctx, line) }}, nil
	case t.Source == "":
		s.unnamed = append(s.unnamed, t.Host.Name)
	case azurecloud.InVault(t.Source):
		if ref, first := s.reference(&t.Source); first {
			return &job{t.Source, "fetching ", false, func(ctx context.Context) (*certificate.Certificate, error) { return r.Fetch(ctx, ref) }}, nil
		}
	default:
		return nil, r.file(s, t.Source)
	}
	return nil, nil
}

// file reads the certificate in a file, once.
func (r *Reader) file(s *sources, path string) error {
	if _, done := s.read[path]; done {
		return nil
	}
	cert, err := readFile(path, r.Now)
	return s.add(path, cert, err)
}

// job gets a certificate that is in no file.
type job struct {
	source, doing string // doing: of the source, for a line of progress
	command       bool
	get           func(context.Context) (*certificate.Certificate, error)
}

// getAll carries out the jobs, several at once. The first command runs before the others: it
// may have to unlock its store.
func (r *Reader) getAll(ctx context.Context, s *sources, jobs []job) error {
	if len(jobs) == 0 {
		return nil
	}
	if r.Offline {
		r.note("not fetched (--offline): " + andMore(sourcesOf(jobs)))
		return nil
	}
	if err := r.Check(); err != nil {
		return err
	}
	certs, errs := make([]*certificate.Certificate, len(jobs)), make([]error, len(jobs))
	var outage atomic.Bool // Azure is unreachable, or a command fails: do not wait for it again
	var group errgroup.Group
	group.SetLimit(parallel)
	first := true
	for i, job := range jobs {
		get := func() error {
			if outage.Load() {
				return nil
			}
			r.say(job.doing + job.source)
			certs[i], errs[i] = job.get(ctx)
			if e := azure.AsError(errs[i]); e != nil && e.Class == problem.Unreachable && !e.Lasting || problem.Is(errs[i], problem.Usage) {
				outage.Store(true)
			}
			return nil
		}
		if job.command && first {
			first = false
			_ = get() // its error is in errs
			continue
		}
		group.Go(get)
	}
	_ = group.Wait() // each error is in errs
	for i, job := range jobs {
		if certs[i] == nil && errs[i] == nil {
			continue // skipped
		}
		if err := s.add(job.source, certs[i], errs[i]); err != nil {
			return err
		}
	}
	return s.failure()
}

// run runs the command of a certificate, which prints it as an agent's file, DER or PEM.
func (r *Reader) run(ctx context.Context, line string) (*certificate.Certificate, error) {
	what := "the certificate's command (" + display.Shorten(display.Mask(line), 200) + ")"
	data, err := secret.Output(ctx, line, certificate.MaxSize)
	if p := problem.As(err); p != nil {
		return nil, problem.New(p.Class, p.Hint, "%s: %s", what, p.Message)
	}
	if err != nil {
		return nil, err
	}
	var c *certificate.Certificate
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		c, err = certificate.Pack(data, data, r.Now)
	} else {
		c, err = certificate.Parse(data, r.Now)
	}
	if err != nil {
		// The hints about files do not apply to an output.
		return nil, &problem.Error{Class: problem.Certificate, Message: what + " printed no usable certificate: " + err.Error(),
			Hint: display.ForShell("("+line+")", "sh -c "+display.Arg(line)) + " | aoifleet certificate inspect /dev/stdin"}
	}
	return c, nil
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
