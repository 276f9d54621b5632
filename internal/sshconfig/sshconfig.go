// Package sshconfig returns the settings with which ssh connects to a host: the user, the
// port, the keys, the known_hosts files and the jump hosts of ssh_config(5).
//
// It runs `ssh -G` if there is an ssh program, because only ssh fully implements Match,
// tokens, Include and its own defaults. Without one, as on Windows without OpenSSH and in
// slim containers, a library reads the files, and a file that it would misread is refused.
package sshconfig

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// None as Query.File means that no configuration applies, and none of ssh's defaults.
const None = "none"

const (
	// DefaultTimeout bounds one `ssh -G`, and the commands of `Match exec` in it.
	DefaultTimeout = 10 * time.Second
	// DefaultParallel is the number of `ssh -G` that run at once.
	DefaultParallel = 4
	// maxHops bounds a chain of jump hosts: a longer one is a loop.
	maxHops = 8
)

// Options has the values from the workstation's environment, which this package does not
// read itself.
type Options struct {
	// Program is the path of ssh; "": none, a library reads the files.
	Program string
	// Home is the home directory that ssh uses: that of the user database, not $HOME
	// (ssh_config(5), FILES). "": unknown.
	Home string
	// HomeGuessed means that Home may differ from ssh's.
	HomeGuessed bool
	User        string              // login name on the workstation
	HostName    string              // of the workstation, for %l and %L
	Getenv      func(string) string // for ${NAME}; nil: no variable is set
	Timeout     time.Duration       // of one `ssh -G`; 0: DefaultTimeout
	Parallel    int                 // number of `ssh -G` at once; 0: DefaultParallel
	// systemFolder has the files for all users; "": that of the operating system.
	systemFolder string
}

// Query has the arguments of `ssh` for one host.
type Query struct {
	Host   string // name or address; must not start with "-"
	User   string // as -l; "": from the configuration
	Port   int    // as -p; 0: from the configuration
	File   string // as -F; "": ssh's default files; None: no file
	Direct bool   // as -o ProxyJump=none -o ProxyCommand=none: the jump hosts are given
}

// Host has the settings for one host. In paths, tokens and ~ are replaced.
type Host struct {
	Alias         string // Query.Host
	HostName      string // name or address to connect to
	User          string // "" only without a configuration
	Port          int    // 0 only without a configuration
	IdentityFiles []string
	// IdentityGiven means that the configuration names the files. Otherwise they are those
	// of ssh's default files that exist.
	IdentityGiven    bool
	IdentitiesOnly   bool
	CertificateFiles []string
	IdentityAgent    string   // path of a socket; "": from the environment; "none": no agent
	KnownHosts       []string // the user's, or the null device; new keys are added to the first
	SystemKnownHosts []string // the system's; never written
	HostKeyAlias     string   // "": none
	CheckHostIP      bool
	Jump             []jump.Hop // first to last
	ProxyCommand     string     // for sh, tokens replaced; "": none
	ConnectTimeout   time.Duration
}

// Resolver resolves queries and caches the answers. It is safe for concurrent use.
type Resolver struct {
	options Options
	slots   chan struct{} // one for each running process

	mu      sync.Mutex
	files   map[string]*survey // by Query.File
	answers map[string]*answer // by kind, see share.go
}

// answer has the settings of one host of a kind.
type answer struct {
	ready    chan struct{} // closed when the other fields are set
	host     string        // the host of the query
	settings settings
	err      error
}

// New returns a Resolver. It reads and runs nothing.
func New(opt Options) *Resolver {
	opt.Timeout = cmp.Or(opt.Timeout, DefaultTimeout)
	opt.Parallel = cmp.Or(opt.Parallel, DefaultParallel)
	if opt.Getenv == nil {
		opt.Getenv = func(string) string { return "" }
	}
	opt.systemFolder = cmp.Or(opt.systemFolder, systemFolder(runtime.GOOS, opt.Getenv))
	return &Resolver{options: opt, slots: make(chan struct{}, opt.Parallel),
		files: map[string]*survey{}, answers: map[string]*answer{}}
}

// Resolve returns the settings for one query. The error is a *problem.Error of class
// usage, on one line and without the host's name, or that of ctx.
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

// settings runs ssh, or returns the answer for another host of the same kind.
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
	return a.settings.forHost(a.host, q.Host), nil
}

func (r *Resolver) ask(ctx context.Context, q Query) (settings, error) {
	if localfile.IsFolder(q.File) { // ssh reads a folder as an empty file
		return nil, &problem.Error{Class: problem.Usage, Message: display.Mask(q.File) + " is a folder", Hint: "set ssh_config to a file in it"}
	}
	if info, err := os.Stat(q.File); err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0 { // ssh waits for a writer, for each host
		return nil, &problem.Error{Class: problem.Usage, Message: display.Mask(q.File) + " is a FIFO or a socket, not a regular file", Hint: "set ssh_config to a file, or to none"}
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

// Route returns the complete route to a host: the jump hosts from first to last, then the
// host itself. With q.Direct the jump hosts are hops, otherwise those of the
// configuration. As with `ssh -J`, the route to the first is that of its configuration,
// and each other is reached through the one before. The error is that of Resolve.
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
	var route []Host
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
		route = append(route, more...)
	}
	return append(route, target), nil
}
