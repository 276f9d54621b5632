package host

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// Limits on the connections from a host, each of which has a number too (mostServers). They
// are made by sshd's process of the login user, which has no right that this user does not
// have.
const (
	reachTimeout = 10 * time.Second
	reachAtOnce  = 8
)

// Reached is the result of connecting from the host to an endpoint.
type Reached struct {
	Endpoint
	// Err is why it can't be reached; nil: it answers. Class problem.Command: it is unknown,
	// because the host allows no forwarding.
	Err  error
	Keys []remote.HostKey // of an SSH server
}

// Unknown reports whether the host did not try.
func (r Reached) Unknown() bool { return r.Err != nil && AsProblem(r.Err).Class == problem.Command }

// Probe is a connection to make from the host.
type Probe struct {
	Endpoint
	SSH       bool     // an SSH server, whose key is wanted; else TLS
	AllKeys   bool     // its keys of all types
	Preferred []string // else a key of these types, if it has one
}

// Reach makes the connections, several at once, and sends nothing in them but a handshake.
// The host resolves the names and connects (direct-tcpip, RFC 4254 section 7.2), so nothing
// need be installed there. The hosts of a run share turns, which may be nil.
func (v *VM) Reach(ctx context.Context, probes []Probe, turns *Turns) []Reached {
	results := make([]Reached, len(probes))
	unresolved := v.unresolved(ctx, probes)
	var work errgroup.Group
	work.SetLimit(reachAtOnce)
	for i, p := range probes {
		work.Go(func() error {
			if p.SSH {
				defer turns.take(ctx, p.Endpoint, reachTimeout)()
			}
			ctx, cancel := v.within(ctx, reachTimeout)
			defer cancel()
			r := Reached{Endpoint: p.Endpoint}
			switch {
			case !p.Valid():
				r.Err = &problem.Error{Class: problem.Configuration, Message: clean(p.Host) + " is not a valid host name"}
			case unresolved[p.Host] != "":
				r.Err = &problem.Error{Class: problem.Unreachable, Message: unresolved[p.Host], Hint: "see on the host: getent ahosts " + p.Host + "; /etc/resolv.conf, /etc/hosts"}
			case p.SSH && p.AllKeys:
				r.Keys, r.Err = v.conn.ServerKeys(ctx, p.String())
			case p.SSH:
				r.Keys = make([]remote.HostKey, 1)
				r.Keys[0], r.Err = v.conn.ServerKey(ctx, p.String(), p.Preferred)
			default:
				r.Err = v.answersTLS(ctx, p.Endpoint)
			}
			results[i] = r.explained()
			return nil
		})
	}
	_ = work.Wait() // the functions return nil; a result has its error
	return results
}

// explained returns the result with a message that names no host of the fleet, so that
// equal ones can be counted together.
func (r Reached) explained() Reached {
	if r.Err == nil {
		return r
	}
	p := *AsProblem(r.Err)
	if _, reason, found := strings.Cut(p.Message, " cannot connect to "); found {
		p.Message, p.Hint = "the host cannot connect to "+reason, "allow it in the firewalls on the way; the agent uses no proxy"
	}
	if _, reason, found := strings.Cut(p.Message, " refuses to forward: "); found {
		p.Message = "the host's sshd does not forward: " + reason
	}
	r.Err, r.Keys = &p, nil
	return r
}

// answersTLS completes a handshake: many firewalls accept a connection and only reset it
// when they read the name in it. The certificate is not verified, because this machine
// does not have the host's authorities, and nothing is sent.
func (v *VM) answersTLS(ctx context.Context, e Endpoint) error {
	transport, err := v.conn.DialContext(ctx, "tcp", e.String())
	if err != nil {
		return err
	}
	defer transport.Close()
	// #nosec: see above
	err = tls.Client(transport, &tls.Config{ServerName: e.Host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
	if err != nil {
		return &problem.Error{Class: problem.Unreachable, Message: fmt.Sprintf("%s accepts the connection, but does not answer with TLS: %s", e, display.Sanitise(err.Error(), 200)),
			Hint: "is there a firewall that filters by name?"}
	}
	return nil
}

// resolver prints the names that do not resolve, each after getent's exit status. They are
// looked up at the same time, and before the connections: sshd waits for one name at a time,
// and the whole connection with it.
const resolver = `look() { timeout 8 getent ahosts "$1" >/dev/null 2>&1 </dev/null; printf '%s %s\n' $? "$1"; }
`

// unresolved returns why names do not resolve on the host, by name. A name of which the
// host says nothing is left to sshd.
func (v *VM) unresolved(ctx context.Context, probes []Probe) map[string]string {
	ctx, cancel := v.within(ctx, reachTimeout)
	defer cancel()
	var script strings.Builder
	script.WriteString(resolver)
	asked, wrong := map[string]bool{}, map[string]string{}
	for _, p := range probes {
		if _, err := netip.ParseAddr(p.Host); err != nil && p.Valid() && !asked[p.Host] {
			asked[p.Host] = true
			fmt.Fprintf(&script, "look '%s' &\n", p.Host) // a name has no quote
		}
	}
	if len(asked) == 0 {
		return wrong
	}
	script.WriteString("wait\n")
	process, err := v.conn.Start(ctx, "sh -s") // as the login user
	if err != nil {
		return wrong
	}
	defer process.Close()
	_, _ = io.WriteString(process.Stdin(), script.String())
	_ = process.Stdin().Close()
	out, _ := io.ReadAll(io.LimitReader(process.Stdout(), 64<<10)) // what arrived is used
	for line := range strings.Lines(string(out)) {
		switch status, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); {
		case !asked[name]:
		case status == "2": // getent(1): not found
			wrong[name] = name + " does not resolve on the host"
		case status == "124":
			wrong[name] = name + " does not resolve on the host within 8s"
		}
	}
	return wrong
}
