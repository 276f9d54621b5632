// Package sshconfig tells how ssh would reach a host: the user, the port, the
// keys, the known_hosts files, the jump hosts of ssh_config(5).
//
// `ssh -G` is asked wherever there is an ssh program, because only it knows
// Match, tokens, Include and its own defaults. Without one, as on Windows without
// OpenSSH and in slim containers, the files are read by a library, and refused where
// that would misread them.
package sshconfig

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// None as Query.File: no configuration applies, and there is nothing that ssh
// would take for granted either.
const None = "none"

const (
	// DefaultTimeout bounds one `ssh -G`, and the commands of `Match exec` in it.
	DefaultTimeout = 10 * time.Second
	// DefaultParallel is how many of them run at once.
	DefaultParallel = 4
	// maxHops bounds a chain of jump hosts: more is a loop.
	maxHops = 8
)

// Options are what the workstation gives; nothing here reads the environment.
type Options struct {
	// Program is the path of ssh; "": there is none, and the files are read here.
	Program string
	// Home is the home directory that ssh takes: that of the user database, not
	// $HOME (ssh_config(5), FILES). "": not known.
	Home string
	// HomeGuessed: Home may be another than ssh's.
	HomeGuessed bool
	User        string              // login name on the workstation
	HostName    string              // of the workstation, for %l and %L
	Getenv      func(string) string // for ${NAME}; nil: nothing is set
	Timeout     time.Duration       // of one `ssh -G`; 0: DefaultTimeout
	Parallel    int                 // `ssh -G` at once; 0: DefaultParallel
	system      string              // instead of /etc/ssh/ssh_config, in tests
}

// Query is one question: what follows `ssh` on a command line.
type Query struct {
	Host   string // name or address; must not begin with "-"
	User   string // as -l; "": the configuration's
	Port   int    // as -p; 0: the configuration's
	File   string // as -F; "": what ssh reads by itself; None: nothing
	Direct bool   // as -o ProxyJump=none -o ProxyCommand=none: the way there is known
}

// Host is the answer. Paths are as ssh would open them, tokens and ~ replaced.
type Host struct {
	Alias         string // Query.Host
	HostName      string // where to connect to
	User          string // "" only without a configuration
	Port          int    // 0 only without a configuration
	IdentityFiles []string
	// IdentityGiven: the files are named in the configuration; else they are
	// those of ssh's default names that exist.
	IdentityGiven    bool
	IdentitiesOnly   bool
	CertificateFiles []string
	IdentityAgent    string     // path of a socket; "": that of the environment; "none": no agent
	KnownHosts       []string   // the user's; new keys go into the first
	SystemKnownHosts []string   // only read
	HostKeyAlias     string     // "": none
	Jump             []jump.Hop // in the order in which they are passed
	ProxyCommand     string     // for sh, tokens replaced; "": none
	ConnectTimeout   time.Duration
}

// Resolver answers queries, and remembers the answers. It may be used from
// several goroutines at the same time.
type Resolver struct {
	options Options
	slots   chan struct{} // of processes that run

	mu      sync.Mutex
	files   map[string]*survey // by Query.File
	answers map[string]*answer // by kind, see share.go
}

// answer is what ssh said for one host of a kind.
type answer struct {
	ready    chan struct{} // closed when the rest is set
	host     string        // the one that was asked about
	settings settings
	err      error
}

// New returns a Resolver; nothing is read or run yet.
func New(opt Options) *Resolver {
	opt.Timeout = cmp.Or(opt.Timeout, DefaultTimeout)
	opt.Parallel = cmp.Or(opt.Parallel, DefaultParallel)
	opt.system = cmp.Or(opt.system, systemFile)
	if opt.Getenv == nil {
		opt.Getenv = func(string) string { return "" }
	}
	return &Resolver{options: opt, slots: make(chan struct{}, opt.Parallel),
		files: map[string]*survey{}, answers: map[string]*answer{}}
}

// Resolve answers one query. The error is a *problem.Error, one line that does not
// name the host, or that of ctx.
func (r *Resolver) Resolve(ctx context.Context, q Query) (Host, error) {
	if q.File == None {
		return Host{Alias: q.Host, HostName: q.Host, User: q.User, Port: q.Port}, nil
	}
	s, err := r.settings(ctx, q)
	if err != nil {
		return Host{}, err
	}
	return s.host(q, r.options)
}

// settings asks ssh, or finds what it said about a host that it treats alike.
func (r *Resolver) settings(ctx context.Context, q Query) (settings, error) {
	kind := r.kind(q)
	r.mu.Lock()
	a := r.answers[kind]
	first := a == nil
	if first {
		a = &answer{ready: make(chan struct{}), host: q.Host}
		r.answers[kind] = a
	}
	r.mu.Unlock()
	if first {
		a.settings, a.err = r.ask(ctx, q)
		close(a.ready)
	}
	select {
	case <-a.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.err != nil {
		return nil, a.err
	}
	return a.settings.of(a.host, q.Host), nil
}

func (r *Resolver) ask(ctx context.Context, q Query) (settings, error) {
	if localfile.IsFolder(q.File) { // to ssh an empty file
		return nil, &problem.Error{Class: problem.Usage, Message: display.Mask(q.File) + " is a folder", Hint: "name a file in it as ssh_config"}
	}
	if r.options.Program == "" {
		return r.readFiles(q)
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r.askProgram(ctx, q)
}

// Route is the whole way to a host: the jump hosts in the order in which they
// are passed, the host itself last. With q.Direct the jump hosts are those of
// hops, else those of the configuration. As with `ssh -J`, the first of them is
// reached as the configuration says for it, the others through the one before.
func (r *Resolver) Route(ctx context.Context, q Query, hops []jump.Hop) ([]Host, error) {
	return r.route(ctx, q, hops, 0)
}

func (r *Resolver) route(ctx context.Context, q Query, hops []jump.Hop, passed int) ([]Host, error) {
	target, err := r.Resolve(ctx, q)
	if err != nil {
		return nil, err
	}
	if !q.Direct {
		hops = target.Jump
	}
	if passed += len(hops); passed > maxHops {
		return nil, &problem.Error{Class: problem.Usage, Message: "more than " + strconv.Itoa(maxHops) + " jump hosts, the last " + quote(q.Host),
			Hint: "is there a loop? see: ssh -G " + q.Host}
	}
	var way []Host
	for i, hop := range hops {
		next := Query{Host: hop.Host, User: hop.User, Port: hop.Port, File: q.File, Direct: i > 0}
		var more []Host
		if i == 0 {
			more, err = r.route(ctx, next, nil, passed)
		} else {
			more = make([]Host, 1)
			more[0], err = r.Resolve(ctx, next)
		}
		if err != nil {
			return nil, atHop(hop, err)
		}
		way = append(way, more...)
	}
	return append(way, target), nil
}
