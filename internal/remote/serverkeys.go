package remote

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// serverKeyTypes are the types of host keys that ssh-keygen -A creates, with their
// signature algorithms.
var serverKeyTypes = [][]string{
	{ssh.KeyAlgoED25519},
	{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
	{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA},
}

// errKeySeen ends a handshake of which only the host key is wanted.
var errKeySeen = errors.New("the host key is seen")

// ServerKey returns the host key that the SSH server at address shows to the machine at
// the other end, which it has proved to have: of one of the preferred types if it has
// one. It does not log in. Every error is a *problem.Error.
func (c *Conn) ServerKey(ctx context.Context, address string, preferred []string) (HostKey, error) {
	kinds := slices.Clone(serverKeyTypes)
	slices.SortStableFunc(kinds, func(a, b []string) int {
		return rank(a, preferred) - rank(b, preferred)
	})
	return c.serverKey(ctx, address, slices.Concat(kinds...))
}

func rank(kind, preferred []string) int {
	for at, name := range preferred {
		if slices.Contains(kind, name) {
			return at
		}
	}
	return len(preferred)
}

// ServerKeys returns the keys of the server, one of each type that ssh-keygen -A creates;
// each takes a connection of its own.
func (c *Conn) ServerKeys(ctx context.Context, address string) ([]HostKey, error) {
	var keys []HostKey
	var failed error
	for _, kind := range serverKeyTypes {
		key, err := c.serverKey(ctx, address, kind)
		var no *ssh.AlgorithmNegotiationError
		switch {
		case err == nil:
			keys = append(keys, key)
		case errors.As(err, &no):
			failed = err
		default:
			return nil, err
		}
	}
	if keys == nil {
		return nil, failed
	}
	return keys, nil
}

func (c *Conn) serverKey(ctx context.Context, address string, algorithms []string) (HostKey, error) {
	transport, err := c.DialContext(ctx, "tcp", address)
	if err != nil {
		return HostKey{}, err
	}
	defer transport.Close()
	defer context.AfterFunc(ctx, func() { _ = transport.Close() })()
	var seen ssh.PublicKey
	_, _, _, err = ssh.NewClientConn(transport, address, &ssh.ClientConfig{
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen = key
			return errKeySeen
		},
	})
	switch {
	case seen != nil:
		return NewHostKey(seen), nil
	case ctx.Err() != nil:
		return HostKey{}, contextError(ctx, "the key exchange with "+address)
	}
	text := strings.TrimPrefix(err.Error(), "ssh: handshake failed: ")
	return HostKey{}, &problem.Error{Class: problem.Unreachable, Message: "no SSH server answers at " + address + ": " + display.Sanitise(text, 200), Err: err}
}
