//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"
)

// The default directories of Options.
const (
	DefaultCache = "/var/cache/aoifleet-e2e"
	DefaultDir   = "/var/tmp"
)

// bootTimeout is the limit of Boot for one host. A single host boots in less than a
// second; many in parallel on a small machine need longer.
const bootTimeout = 3 * time.Minute

// Problem is an error for the operator, with a hint.
type Problem struct {
	Message string
	Hint    string // the next command; may be empty
}

func (p *Problem) Error() string {
	if p.Hint == "" {
		return p.Message
	}
	return p.Message + " (" + p.Hint + ")"
}

// Options are the hosts to boot and their content.
type Options struct {
	Hosts       []Spec
	AgentBinary string    // installed as /usr/bin/az-aoi-ingestion; see BuildAgent
	Certificate []byte    // bytes of the live certificate file; nil: no file
	Cache       string    // root file systems, kept between runs; empty: DefaultCache
	Mirrors     []string  // Debian archives to try before those of apt's configuration
	Dir         string    // parent of the fleet's own directory; empty: DefaultDir
	Log         io.Writer // progress for the operator; nil: none
}

// Spec describes one host.
type Spec struct {
	Name        string // host name: lower-case letters, digits and hyphens, at most 63
	Release     string // Debian code name; empty: bookworm
	MaxStartups string // sshd_config(5) MaxStartups; empty: sshd's default
	Certificate []byte // replaces Options.Certificate for this host
}

// Fleet is a set of running hosts.
type Fleet struct {
	Hosts        []*Host
	Netns        string // name of the network namespace, see ip-netns(8)
	Dir          string // the fleet's own directory, removed by Close
	KnownHosts   string // known_hosts file with each host's ed25519 key
	IdentityFile string // private key of the logins azureuser and root

	session *session
	close   sync.Once
	closed  error
}

// FromEnv sets the cache from AOIFLEET_E2E_CACHE and a mirror from
// AOIFLEET_E2E_MIRROR, if they are set.
func (o *Options) FromEnv(getenv func(string) string) {
	if cache := getenv("AOIFLEET_E2E_CACHE"); cache != "" {
		o.Cache = cache
	}
	if mirror := getenv("AOIFLEET_E2E_MIRROR"); mirror != "" {
		o.Mirrors = append(o.Mirrors, mirror)
	}
}

// Boot creates missing root file systems (about 80 s each, once),
// boots all hosts in parallel and returns when each answers on SSH and has
// finished booting. After an error no host runs.
func Boot(ctx context.Context, options Options) (*Fleet, error) {
	o, err := options.complete()
	if err != nil {
		return nil, err
	}
	if err := checkMachine(); err != nil {
		return nil, err
	}
	if err := reapStale(ctx, o.Dir); err != nil {
		return nil, err
	}
	bases, err := rootFileSystems(ctx, o)
	if err != nil {
		return nil, err
	}
	session, err := openSession(o.Dir)
	if err != nil {
		return nil, err
	}
	f := &Fleet{Netns: session.name, Dir: session.dir, session: session}
	if err := f.boot(ctx, o, bases); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// complete checks the options and fills in defaults.
func (o Options) complete() (Options, error) {
	o.Hosts = slices.Clone(o.Hosts)
	if o.Cache == "" {
		o.Cache = DefaultCache
	}
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.AgentBinary == "" {
		return o, &Problem{Message: "no agent binary given"}
	}
	if len(o.Hosts) == 0 || len(o.Hosts) > maxHosts {
		return o, &Problem{Message: fmt.Sprintf("%d hosts: between 1 and %d can be booted", len(o.Hosts), maxHosts)}
	}
	seen := map[string]bool{}
	for i := range o.Hosts {
		spec := &o.Hosts[i]
		if spec.Release == "" {
			spec.Release = "bookworm"
		}
		if err := spec.check(); err != nil {
			return o, err
		}
		if seen[spec.Name] {
			return o, &Problem{Message: fmt.Sprintf("host %q is there twice", spec.Name)}
		}
		seen[spec.Name] = true
	}
	return o, nil
}

// Names are used in paths, arguments and lines of configuration files.
var (
	hostName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	releaseName = regexp.MustCompile(`^[a-z]+$`)
	startups    = regexp.MustCompile(`^([0-9]+(:[0-9]+:[0-9]+)?)?$`)
)

func (s Spec) check() error {
	switch {
	case !hostName.MatchString(s.Name):
		return &Problem{Message: fmt.Sprintf("host name %q: lower-case letters, digits and hyphens only", s.Name)}
	case !releaseName.MatchString(s.Release):
		return &Problem{Message: fmt.Sprintf("host %s: release %q is not a code name", s.Name, s.Release)}
	case !startups.MatchString(s.MaxStartups):
		return &Problem{Message: fmt.Sprintf("host %s: MaxStartups %q is not start:rate:full", s.Name, s.MaxStartups)}
	}
	return nil
}

// boot prepares and starts every host, in parallel.
func (f *Fleet) boot(ctx context.Context, o Options, bases map[string]string) error {
	keys, err := f.prepare(ctx)
	if err != nil {
		return err
	}
	for i, spec := range o.Hosts {
		f.Hosts = append(f.Hosts, f.newHost(i, spec))
	}
	began := time.Now()
	if err := f.each(func(i int, h *Host) error {
		return h.provision(ctx, bases[h.Release], o, o.Hosts[i], keys)
	}); err != nil {
		return err
	}
	if err := f.writeKnownHosts(); err != nil {
		return err
	}
	if err := f.each(func(_ int, h *Host) error { return h.firstBoot(ctx) }); err != nil {
		return err
	}
	fmt.Fprintf(o.Log, "booted %d hosts in %.1f s\n", len(f.Hosts), time.Since(began).Seconds())
	return nil
}

// prepare creates the network namespace and the login key.
func (f *Fleet) prepare(ctx context.Context) (authorizedKey []byte, err error) {
	if err := f.session.run(ctx, "ip", "netns", "add", f.Netns); err != nil {
		return nil, err
	}
	if err := f.session.run(ctx, "ip", "-netns", f.Netns, "link", "set", "lo", "up"); err != nil {
		return nil, err
	}
	f.KnownHosts = filepath.Join(f.Dir, "known_hosts")
	f.IdentityFile = filepath.Join(f.Dir, "id_ed25519")
	return writeIdentity(f.IdentityFile)
}

// each runs step for every host in parallel and joins the errors: a failing host
// does not stop the others.
func (f *Fleet) each(step func(i int, h *Host) error) error {
	failures := make([]error, len(f.Hosts))
	var group sync.WaitGroup
	for i, h := range f.Hosts {
		group.Go(func() {
			if err := step(i, h); err != nil {
				failures[i] = fmt.Errorf("host %s: %w", h.Name, err)
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

// Host returns the host with that name, or nil.
func (f *Fleet) Host(name string) *Host {
	for _, h := range f.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Command is exec.CommandContext for a program that runs on the machine, inside
// the fleet's network namespace, the only place with a route to the hosts.
func (f *Fleet) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", f.Netns, name}, args...)...)
}

// CPU returns the CPU time of the processes of all hosts since the fleet was booted,
// including ended processes (cpu.stat of the kernel's cgroup2).
func (f *Fleet) CPU() (time.Duration, error) {
	mount, err := cgroupMount()
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(mount, f.session.name, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	var used int64
	if _, err := fmt.Sscanf(string(text), "usage_usec %d", &used); err != nil {
		return 0, fmt.Errorf("cpu.stat: %w", err)
	}
	return time.Duration(used) * time.Microsecond, nil
}

// Close cuts the power of every host and removes everything that the fleet created.
// It may be called more than once. Programs in the namespace are killed.
func (f *Fleet) Close() error {
	f.close.Do(func() {
		for _, h := range f.Hosts {
			h.machine.retire()
		}
		if f.closed = f.session.end(); f.closed != nil {
			return // waiting for a machine that can't be killed would not end
		}
		for _, h := range f.Hosts {
			h.machine.wait()
		}
	})
	return f.closed
}

// tail returns the end of an output, long enough to show a program's error.
func tail(out []byte) string {
	const limit = 2000
	if len(out) > limit {
		out = out[len(out)-limit:]
	}
	return string(out)
}

// readTail is tail for a file; a missing file is empty.
func readTail(path string) string {
	out, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return tail(out)
}
