// Package certsource reads certificates with their keys from where an inventory names
// them: files in the agent's form, and Key Vaults (keyvault://VAULT/NAME[/VERSION]).
// What comes from a vault is kept in memory only.
package certsource

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Reader reads certificates that must be valid at Now. It asks vaults as the operator.
type Reader struct {
	Cloud     azurecloud.Settings // where the vaults are
	Transport *http.Transport     // to the vaults; nil: http.DefaultTransport
	Now       time.Time
	Offline   bool // nothing is fetched from vaults
	// Say shows a line of progress, Note a remark about certificates. nil: not shown.
	Say, Note func(line string)

	once   sync.Once
	client *azure.Client
	err    error
}

// Check returns what is wrong with the settings of the cloud, an *azure.Error of class
// configuration, or nil. Nothing is contacted.
func (r *Reader) Check() error {
	r.once.Do(func() { r.client, r.err = azure.New(r.Cloud, r.Transport, azure.Patience{}) })
	return r.err
}

// Read reads the certificate of one source. The error is a *problem.Error or an
// *azure.Error.
func (r *Reader) Read(ctx context.Context, source string) (*certificate.Certificate, error) {
	if !azurecloud.InVault(source) {
		return certificate.ReadFile(source, r.Now)
	}
	ref, err := azure.ParseReference(source)
	if err != nil {
		return nil, err
	}
	return r.Fetch(ctx, ref)
}

// ParseVault reads keyvault://VAULT/NAME[/VERSION]. The error is an *azure.Error of
// class configuration.
func ParseVault(source string) (azure.Reference, error) { return azure.ParseReference(source) }

// Fetch reads a certificate from a vault. What a vault keeps is PKCS#12, often with the
// root first, or PEM; of either the same bytes come out each time, which are what is
// installed and compared. The error is as with Read.
func (r *Reader) Fetch(ctx context.Context, ref azure.Reference) (*certificate.Certificate, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	file, err := r.client.Fetch(ctx, nil, ref)
	if err != nil {
		return nil, err
	}
	data := file.Bytes()
	var c *certificate.Certificate
	if file.PEM {
		c, err = certificate.Pack(data, data, r.Now)
	} else {
		c, err = certificate.Parse(data, r.Now)
	}
	if err != nil {
		// The hints of a file don't fit: there is none here.
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
