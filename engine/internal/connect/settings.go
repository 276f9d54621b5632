// Package connect reaches a Temporal server: its address, namespace and certificates, and the
// keys of the payloads, from flags and the environment. The names of the settings of the
// connection are those of Temporal's own command line.
package connect

import (
	"cmp"
	"context"
	"net"
	"strings"

	"github.com/spf13/pflag"
	"go.temporal.io/sdk/client"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// Settings say how to reach a server, and what encrypts the payloads.
type Settings struct {
	Address   string // HOST:PORT
	Namespace string

	CA         string // file with the certificates that may issue the server's; "": the system's
	Cert, Key  string // files with the client's certificate and key
	ServerName string // in the server's certificate; "": the host of Address
	Insecure   bool   // no TLS, also if the server is on another machine

	PayloadKeys        string // file
	PayloadKeysCommand string // line of sh that prints what would be in it
	Plaintext          bool   // payloads are not encrypted

	Site string // whose worker this program is; "": of none
}

// AddFlags adds the flags of the settings. Their defaults are from the environment.
func (s *Settings) AddFlags(flags *pflag.FlagSet, getenv func(string) string) {
	for _, f := range []struct {
		to                          *string
		name, env, otherwise, usage string
	}{
		{&s.Address, "address", "TEMPORAL_ADDRESS", "127.0.0.1:7233", "the Temporal server, `HOST:PORT`"},
		{&s.Namespace, "namespace", "TEMPORAL_NAMESPACE", "default", "`NAME` of the namespace on it: one for each fleet"},
		{&s.CA, "tls-ca-path", "TEMPORAL_TLS_SERVER_CA_CERT_PATH", "", "`FILE` with the certificates that may issue the server's (default: the system's)"},
		{&s.Cert, "tls-cert-path", "TEMPORAL_TLS_CLIENT_CERT_PATH", "", "`FILE` with the client certificate"},
		{&s.Key, "tls-key-path", "TEMPORAL_TLS_CLIENT_KEY_PATH", "", "`FILE` with the key of the client certificate"},
		{&s.ServerName, "tls-server-name", "TEMPORAL_TLS_SERVER_NAME", "", "`NAME` in the server's certificate, if it is not that of the address"},
		{&s.PayloadKeys, "payload-keys", "AOIFLEET_PAYLOAD_KEYS", "", "`FILE` with the keys that encrypt what the server stores"},
		{&s.PayloadKeysCommand, "payload-keys-command", "AOIFLEET_PAYLOAD_KEYS_COMMAND", "", "`COMMAND` for sh that prints these keys"},
	} {
		flags.StringVar(f.to, f.name, cmp.Or(getenv(f.env), f.otherwise), f.usage+" ["+f.env+"]")
	}
	flags.BoolVar(&s.Plaintext, "plaintext", false, "do not encrypt what the server stores: for a lab")
	flags.BoolVar(&s.Insecure, "insecure", false, "connect without TLS to a server on another machine: for a lab")
}

// Options returns the options of a client: of client.Dial, for client.Options.Logger and Identity
// to be added. It reads all files once, so that what is wrong with them is found at the start.
// The error is a *problem.Error of class usage, or that of ctx.
func (s Settings) Options(ctx context.Context) (client.Options, codec.Converters, error) {
	if err := s.check(); err != nil {
		return client.Options{}, codec.Converters{}, err
	}
	converters, err := s.converters(ctx)
	if err != nil {
		return client.Options{}, converters, err
	}
	o := client.Options{HostPort: s.Address, Namespace: s.Namespace, DataConverter: converters.Data, FailureConverter: converters.Failure}
	o.ConnectionOptions.GrpcCompression = &client.GrpcCompressionNone{} // payloads are compressed, and encrypted ones don't get smaller
	if s.usesTLS() {
		files := files{ca: s.CA, cert: s.Cert, key: s.Key, server: cmp.Or(s.ServerName, hostOf(s.Address))}
		if err := files.check(); err != nil {
			return client.Options{}, converters, err
		}
		o.ConnectionOptions.TLS = files.config()
	}
	return o, converters, nil
}

// Dial connects. The error is a *problem.Error: of class unreachable if the server can't be
// reached or does not accept the certificate, of class usage if a setting is wrong.
func (s Settings) Dial(ctx context.Context, edit func(*client.Options)) (client.Client, codec.Converters, error) {
	o, converters, err := s.Options(ctx)
	if err != nil {
		return nil, converters, err
	}
	if edit != nil {
		edit(&o)
	}
	c, err := client.DialContext(ctx, o)
	if err != nil && ctx.Err() != nil {
		return nil, converters, ctx.Err()
	}
	if err != nil {
		return nil, converters, problem.New(problem.Unreachable, "is it running, and are the address and the certificates right?",
			"can't reach the Temporal server at %s: %s", s.Address, display.Sanitise(err.Error(), 300))
	}
	return c, converters, nil
}

func (s Settings) usesTLS() bool { return s.CA+s.Cert+s.Key+s.ServerName != "" }

// check returns what is wrong with the settings by themselves.
func (s Settings) check() error {
	wrong := func(hint, format string, args ...any) error { return problem.New(problem.Usage, hint, format, args...) }
	host, port, err := net.SplitHostPort(s.Address)
	switch {
	case err != nil || host == "" || port == "":
		return wrong("such as temporal.example:7233", "--address is not HOST:PORT: %s", display.Quote(s.Address, 100))
	case s.Namespace == "":
		return wrong("", "--namespace is empty")
	case (s.Cert == "") != (s.Key == ""):
		return wrong("", "--tls-cert-path and --tls-key-path belong together")
	case s.Insecure && s.usesTLS():
		return wrong("leave one of them out", "--insecure is without TLS, and there are settings of TLS")
	case !s.usesTLS() && !s.Insecure && !loopback(host):
		return wrong("name its certificates: --tls-ca-path, --tls-cert-path and --tls-key-path", "%s is another machine, and there are no settings of TLS", display.Sanitise(s.Address, 100))
	}
	return nil
}

// loopback reports whether a host is this machine. A name other than localhost may be resolved to
// any address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// converters returns what encrypts the payloads.
func (s Settings) converters(ctx context.Context) (codec.Converters, error) {
	count := 0
	for _, given := range []bool{s.PayloadKeys != "", s.PayloadKeysCommand != "", s.Plaintext} {
		if given {
			count++
		}
	}
	switch {
	case count > 1:
		return codec.Converters{}, problem.New(problem.Usage, "they may also be set in the environment: AOIFLEET_PAYLOAD_KEYS, AOIFLEET_PAYLOAD_KEYS_COMMAND", "--payload-keys, --payload-keys-command and --plaintext exclude each other")
	case count == 0:
		return codec.Converters{}, problem.New(problem.Usage, "aoifleet-engine key new NAME prints a key; --payload-keys FILE reads it", "there are no keys to encrypt what the server stores")
	case s.Plaintext:
		return codec.New(nil), nil
	}
	ring, err := codec.Load(ctx, secretsource.Source{File: s.PayloadKeys, Command: s.PayloadKeysCommand})
	if err != nil {
		return codec.Converters{}, err
	}
	if p := ring.CheckSite(s.Site); p != nil {
		return codec.Converters{}, p
	}
	return codec.New(ring), nil
}
