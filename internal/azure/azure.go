// Package azure asks Microsoft Entra, Azure Key Vault and Microsoft Graph what a
// rotation needs to know: whether a certificate is accepted, what a vault holds, which
// certificates an application has. It also changes the certificates of an application.
//
// Entra and Key Vault are asked with Microsoft's own libraries, Graph through
// their pipeline. No error, and nothing that a value of this package prints,
// holds a key, a token or a secret's value. What a service answers is bounded in
// size and time, and stripped of control characters before anyone sees it.
package azure

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Error is every error of this package. Message is short, lower case and holds
// the vendor's own words where there are any; Hint, where there is one, is the
// next thing to do.
type Error struct {
	problem.Base        // Err is the context's error of class problem.Interrupted, else nil
	Code         string `json:"code,omitempty"` // the vendor's, such as AADSTS700027 or ForbiddenByFirewall; "" for none
	// Lasting, of problem.Unreachable: it failed at once, and no time was spent on
	// retries, as where there is no host of that name.
	Lasting bool `json:"-"`
	// Elsewhere: of a vault that this machine does not reach, or that refuses its address.
	// From another network it may answer.
	Elsewhere bool `json:"-"`
}

// NewError returns an Error; code, the vendor's, and hint may be "".
func NewError(class problem.Class, code, message, hint string) *Error {
	return &Error{Base: problem.Error{Class: class, Message: message, Hint: hint}, Code: code}
}

// Unwrap returns the error without what only Azure has.
func (e *Error) Unwrap() error { return &e.Base }

// AsError returns the first Error in the chain of err, nil if there is none.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Patience says how long to wait for what. A zero field means its default.
type Patience struct {
	// Propagation is how long Entra may take to know a certificate that was
	// registered just now, 5 minutes by default; negative: Entra is asked once.
	Propagation time.Duration
	// Outage is how long to retry without any definite answer, 30 s by default.
	Outage time.Duration
	// Try bounds one request for a token or a secret, 10 s by default.
	Try time.Duration
	// InARow is how many times in a row Entra must accept: its front ends do not learn
	// of a certificate at the same moment. 3 by default.
	InARow int
}

func (p Patience) withDefaults() Patience {
	set := func(to *time.Duration, d time.Duration) {
		if *to == 0 {
			*to = d
		}
	}
	set(&p.Propagation, 5*time.Minute)
	set(&p.Outage, 30*time.Second)
	set(&p.Try, 10*time.Second)
	if p.InARow == 0 {
		p.InARow = 3
	}
	return p
}

// Client asks one cloud. It is safe for concurrent use.
type Client struct {
	at        endpoints
	transport *http.Transport
	patience  Patience
	getenv    func(string) string
	operator  func() (azcore.TokenCredential, error) // of the operator; made once
}

// New returns a client of a cloud. Requests go through a copy of transport, for
// instance one whose DialContext leads through another machine; nil is a copy of
// http.DefaultTransport, which obeys HTTPS_PROXY and SSL_CERT_FILE. The cloud's own
// Proxy and CAFile come before those. The error is an *Error of class
// Configuration.
func New(cloud azurecloud.Settings, transport *http.Transport, patience Patience) (*Client, error) {
	at, err := endpointsOf(cloud)
	if err != nil {
		return nil, err
	}
	transport, err = TransportTo(cloud, transport)
	if err != nil {
		return nil, err
	}
	c := &Client{at: at, transport: transport, patience: patience.withDefaults(), getenv: func(string) string { return "" }}
	c.operator = sync.OnceValues(c.newOperator)
	return c, nil
}

// Over returns a client whose requests go over connections that dial makes, for instance from
// another machine, and through no proxy. The operator signs in from this machine, as before.
func (c *Client) Over(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	over := *c
	over.transport = c.transport.Clone()
	over.transport.Proxy, over.transport.DialContext = nil, dial
	return &over
}

// options returns the options of all libraries. Where tries is 0, this package itself
// retries.
func (c *Client) options(w *wire, tries int32) azcore.ClientOptions {
	if tries == 0 {
		tries = -1 // azcore: 0 is three
	}
	return azcore.ClientOptions{
		Cloud:     c.at.cloud,
		Transport: w,
		Telemetry: policy.TelemetryOptions{ApplicationID: "aoifleet"},
		Retry:     policy.RetryOptions{MaxRetries: tries, TryTimeout: c.patience.Try, RetryDelay: time.Second, MaxRetryDelay: c.patience.Outage},
	}
}

// Pair is a certificate with its private key. Printing it shows no key.
type Pair struct {
	chain []*x509.Certificate // its own first
	// A closure: fmt, slog and debug printers that walk unexported fields by
	// reflection all stop at a function.
	key func() *rsa.PrivateKey
}

// NewPair returns the pair of a private key and its certificate, the first of chain. The
// error is an *Error of class Configuration.
func NewPair(chain []*x509.Certificate, key *rsa.PrivateKey) (Pair, error) {
	if len(chain) == 0 || key == nil || !key.PublicKey.Equal(chain[0].PublicKey) {
		return Pair{}, NewError(problem.Configuration, "", "the private key does not belong to the certificate", "")
	}
	return Pair{chain: chain, key: func() *rsa.PrivateKey { return key }}, nil
}

// Leaf returns the certificate, nil of the zero Pair.
func (p Pair) Leaf() *x509.Certificate {
	if len(p.chain) == 0 {
		return nil
	}
	return p.chain[0]
}

// String returns the certificate's thumbprint in words.
func (p Pair) String() string {
	if p.Leaf() == nil {
		return "no certificate"
	}
	return "certificate " + thumbprint(p.Leaf())
}

// Format prints String for every verb.
func (p Pair) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }
