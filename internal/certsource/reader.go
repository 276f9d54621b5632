// Package certsource reads certificates with their keys from the sources that an
// inventory names: files in the agent's format, Key Vaults
// (keyvault://VAULT/NAME[/VERSION]) and commands, whose certificates stay in memory. Package
// certificate parses the content of one file; package newcert writes new files.
package certsource

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Reader reads certificates that must be valid at Now. It signs in to vaults as the
// operator.
type Reader struct {
	Cloud     azurecloud.Settings // the cloud of the vaults
	Transport *http.Transport     // to the vaults; nil: http.DefaultTransport
	Now       time.Time
	Offline   bool                // nothing is fetched from vaults
	Getenv    func(string) string // of a pipeline, to sign in; nil: no variable is set
	// Through, if not nil, calls do with a function that dials from a host, which it chooses; its
	// error is that of do, or that no host can be used. It is called for vaults that this machine
	// does not reach. what says what is done.
	Through func(ctx context.Context, what string, do func(ctx context.Context, dial Dial) error) error
	// Say receives lines of progress, Note remarks about certificates; nil: discarded.
	Say, Note func(line string)

	once   sync.Once
	client *azure.Client
	err    error
	remote sync.Map // the vaults that are reached through a host
}

// Dial opens a connection to an address, as net.Dialer.DialContext does.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// Elsewhere reports whether a vault may answer from another network: it was not reached, or it
// refuses the address that asked.
func Elsewhere(err error) bool {
	e := azure.AsError(err)
	return e != nil && e.Elsewhere
}

// reach calls do with a client that reaches a vault: from this machine, or through a host if the
// vault refuses this machine's address or gives it no answer. do may be called again.
func (r *Reader) reach(ctx context.Context, ref azure.Reference, do func(ctx context.Context, client *azure.Client) error) error {
	if err := r.Check(); err != nil {
		return err
	}
	if known, _ := r.remote.Load(ref.Vault); known == nil {
		err := do(ctx, r.client)
		if r.Through == nil || !Elsewhere(err) || ctx.Err() != nil {
			return err
		}
		r.remote.Store(ref.Vault, err.Error())
	}
	err := r.Through(ctx, "asking vault "+ref.Vault, func(ctx context.Context, dial Dial) error { return do(ctx, r.client.Over(dial)) })
	if e := azure.AsError(err); e != nil && e.Class == problem.Unreachable {
		direct, _ := r.remote.Load(ref.Vault)
		both := *e
		both.Message = fmt.Sprintf("%s; %s", direct, e.Message)
		return &both
	}
	return err
}

// Check validates the settings of the cloud. The error is an *azure.Error of class
// configuration. It contacts nothing.
func (r *Reader) Check() error {
	r.once.Do(func() {
		if r.client, r.err = azure.New(r.Cloud, r.Transport, azure.Patience{}); r.err == nil {
			r.client.InEnvironment(r.Getenv)
		}
	})
	return r.err
}

// Read reads the certificate of one source. The error is a *problem.Error or an
// *azure.Error.
func (r *Reader) Read(ctx context.Context, source string) (*certificate.Certificate, error) {
	if !azurecloud.InVault(source) {
		return readFile(source, r.Now)
	}
	ref, err := azure.ParseReference(source)
	if err != nil {
		return nil, err
	}
	return r.Fetch(ctx, ref)
}

// readFile reads a certificate with its key from a file. As ssh does with a private key, it
// refuses a file of the user that others can read or write.
func readFile(path string, now time.Time) (*certificate.Certificate, error) {
	cert, err := certificate.ReadFile(path, now)
	if err != nil {
		return nil, err
	}
	if p := exposed(path); p != nil {
		return nil, p
	}
	return cert, nil
}

// exposed returns the error of a file with a private key that others can read or write, or nil.
func exposed(path string) *problem.Error {
	how := localfile.Exposed(path)
	if how == "" {
		return nil
	}
	return problem.New(problem.Certificate, display.MakePrivate(path), "%s has a private key, and others can read or write it (%s)", display.Mask(path), how)
}

// Public reads a certificate whose key is not needed, from a file or from a vault.
func (r *Reader) Public(ctx context.Context, source string) (*x509.Certificate, error) {
	if !azurecloud.InVault(source) {
		return certificate.ReadPublicFile(source, r.Now)
	}
	ref, err := azure.ParseReference(source)
	if err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	der, err := r.client.Public(ctx, nil, ref)
	if err != nil {
		return nil, err
	}
	return r.parsePublic(ref, der)
}

func (r *Reader) parsePublic(ref azure.Reference, der []byte) (*x509.Certificate, error) {
	cert, err := certificate.ParsePublicDER(der, r.Now)
	if err != nil {
		return nil, &problem.Error{Class: problem.Certificate, Message: ref.String() + " " + err.Error(), Hint: "make a new version of the certificate in the vault, with an RSA key"}
	}
	return cert, nil
}

// ParseVault parses keyvault://VAULT/NAME[/VERSION]. The error is an *azure.Error of
// class configuration.
func ParseVault(source string) (azure.Reference, error) { return azure.ParseReference(source) }

// Fetch reads a certificate from a vault, which stores it as PKCS#12, often with the
// root first, or as PEM. Either is converted to the same bytes each time, because they
// are installed and compared. The error is a *problem.Error or an *azure.Error.
func (r *Reader) Fetch(ctx context.Context, ref azure.Reference) (*certificate.Certificate, error) {
	return r.fetch(ctx, ref, r.Now)
}

func (r *Reader) fetch(ctx context.Context, ref azure.Reference, now time.Time) (*certificate.Certificate, error) {
	var file *azure.File
	err := r.reach(ctx, ref, func(ctx context.Context, client *azure.Client) (err error) {
		file, err = client.Fetch(ctx, nil, ref)
		return err
	})
	if err != nil {
		return nil, err
	}
	data := file.Bytes()
	var c *certificate.Certificate
	if file.PEM {
		c, err = certificate.Pack(data, data, now)
	} else {
		c, err = certificate.Parse(data, now)
	}
	if err != nil {
		// The hints about files do not apply to a vault.
		return nil, &problem.Error{Class: problem.Certificate, Message: ref.String() + ": " + err.Error(), Hint: "make a new version of the certificate in the vault, with an exportable RSA key"}
	}
	return c, nil
}

func (r *Reader) say(line string) {
	if r.Say != nil {
		r.Say(line)
	}
}

func (r *Reader) note(line string) {
	if r.Note != nil {
		r.Note(line)
	}
}
