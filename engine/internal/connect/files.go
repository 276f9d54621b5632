package connect

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxFile bounds a file of certificates, in bytes.
const maxFile = 1 << 20

// files are the files of a TLS connection. Each handshake reads them again, so that a
// certificate may be renewed while a program runs: it is used from the next connection on.
type files struct {
	ca, cert, key string // each may be ""; cert and key go together
	server        string // the name that the server's certificate must have, or its address
}

// check returns what is wrong with the files: a *problem.Error of class usage.
func (f files) check() error {
	if _, err := f.roots(); err != nil {
		return err
	}
	_, err := f.certificate()
	return err
}

// config returns a configuration that verifies the server as crypto/tls does by default, but
// with the roots that are in the file at that time.
func (f files) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: f.server,
		// VerifyConnection verifies instead; it is called for every connection.
		InsecureSkipVerify:   true, //nolint:gosec
		VerifyConnection:     f.verify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.certificate() },
	}
}

func (f files) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	roots, err := f.roots()
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: f.server, Roots: roots, Intermediates: between})
	return err
}

// roots returns the certificates that may issue the server's; nil: those of the system.
func (f files) roots() (*x509.CertPool, error) {
	if f.ca == "" {
		return nil, nil
	}
	text, err := read(f.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, problem.New(problem.Usage, "", "%s has no certificate in PEM", f.ca)
	}
	return pool, nil
}

// certificate returns the client's certificate, an empty one without the files.
func (f files) certificate() (*tls.Certificate, error) {
	if f.cert == "" {
		return &tls.Certificate{}, nil
	}
	if how := localfile.Exposed(f.key); how != "" {
		return nil, problem.New(problem.Usage, display.MakePrivate(f.key), "%s can be read or written by others (%s)", f.key, how)
	}
	cert, err := read(f.cert)
	if err != nil {
		return nil, err
	}
	key, err := read(f.key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // it names no part of the key
		return nil, problem.New(problem.Usage, "", "%s and %s are not a certificate and its key: %v", f.cert, f.key, err)
	}
	return &pair, nil
}

func read(path string) ([]byte, error) {
	text, err := localfile.ReadRegular(path, maxFile)
	if err != nil {
		return nil, problem.New(problem.Usage, "", "can't read %s: %s", path, localfile.Reason(err))
	}
	return text, nil
}
