//go:build linux

package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
)

// The configuration of the lab's agents.
const (
	azureTenant = lab.TenantID
	azureClient = lab.ClientID
	azureObject = "00000000-0000-0000-0000-000000000003"
	azureVault  = lab.Vault
)

// scriptAzure is the simulated Azure of one script.
type scriptAzure struct {
	cloud *cloud.Cloud
	url   string
	app   *cloud.Application
	vault *cloud.KeyVault

	changes int // that azure changes has counted
	hung    *regexp.Regexp
	seen    int // such requests when it was hung
}

// requests counts the requests, METHOD HOST/PATH, so far.
func (z *scriptAzure) requests(which *regexp.Regexp) (n int) {
	for _, path := range z.cloud.Paths() {
		if which.MatchString(path) {
			n++
		}
	}
	return n
}

// simulatedAzure: azure start directs the program to a simulated Azure, through a proxy and
// with its own authority. Then
//
//	azure outside                 only the machines get there from now on
//	azure register FILE [ASKS]    Entra knows a certificate, after so many requests
//	azure principal FILE          the same, on the service principal
//	azure make FILE DAYS [P12]    a certificate that is valid for so many days from now, in PEM; also with its key
//	azure remove FILE             and knows it no longer
//	azure permit PERMISSION       of Microsoft Graph, for the application itself
//	azure has THUMBPRINT…         the application's certificates
//	azure holds FILE…             the same, by files
//	azure changes N               the requests that changed an application since the last time
//	azure secret                  the vault has the agents' secret
//	azure keep NAME FILE [TYPE]   the vault has a certificate
//	azure officer [on|off]        the application may create certificates in the vault
//	azure issuer NAME             of the vault, whose authority is the simulated one
//	azure issue POLLS [REFUSAL]   how often a certificate is found in progress (-1: always)
//	azure policy NAME FILE        of a certificate, in JSON
//	azure created N               so often a client has asked for a version, without an error
//	azure renew NAME              the vault makes the next version by itself
//	azure private [on|off]        only the machines reach the vault; the rest of Azure is open to all
//	azure fail SERVICE STATUS     every request from now on
//	azure hang SERVICE METHOD [after]  such requests get no answer, but take effect with after
//	azure reached                 waits until one has come
//	azure recover                 no longer
//	azure disable [on|off]        the application
//	azure firewall [on|off]       of the vault
func simulatedAzure(ts *testscript.TestScript, _ bool, args []string) {
	s := theState(ts)
	if args[0] == "start" {
		s.azure = startAzure(ts)
		return
	}
	z := s.azure
	if z == nil {
		ts.Fatalf("azure start comes first")
	}
	switch args[0] {
	case "outside":
		at := strings.TrimPrefix(z.url, "https://")
		s.outside.Store(&at)
		ts.Setenv("HTTPS_PROXY", "http://127.0.0.1:9") // discard: no listener
	case "register":
		spread := cloud.Spread{}
		if len(args) > 2 {
			n, err := strconv.Atoi(args[2])
			ts.Check(err)
			spread.Asks = n
		}
		z.app.Register(leafOf(ts, args[1]), spread)
	case "make":
		days, err := strconv.Atoi(args[2])
		ts.Check(err)
		const since = 400 * 24 * time.Hour
		c, public, err := certificate.New(pkix.Name{CommonName: args[1]}, 2048, since+time.Duration(days)*24*time.Hour, time.Now().Add(-since))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), public, 0o600))
		if len(args) > 3 {
			ts.Check(os.WriteFile(ts.MkAbs(args[3]), c.Canonical(), 0o600))
		}
	case "principal":
		z.app.RegisterPrincipal(leafOf(ts, args[1]))
	case "remove":
		z.app.Remove(leafOf(ts, args[1]))
	case "secret":
		z.vault.Set("input-storage-sas", cloud.StoredSecret{Value: "sv=2024&sig=TOPSECRET", Expires: time.Now().Add(time.Hour)})
	case "keep":
		kind := "application/x-pkcs12"
		if len(args) > 3 {
			kind = args[3]
		}
		kept := cloud.StoredSecret{Value: strings.TrimSpace(ts.ReadFile(args[2])), ContentType: kind}
		if kind == "application/x-pkcs12" {
			kept.Public = leafOf(ts, args[2]).Raw
		}
		z.vault.Set(args[1], kept)
	case "officer":
		z.vault.AllowOfficer(azureClient, len(args) < 2 || args[1] == "on")
	case "issuer":
		z.vault.AddIssuer(args[1])
	case "issue":
		polls, err := strconv.Atoi(args[1])
		ts.Check(err)
		z.vault.Issue(cloud.Issuance{Polls: polls, Refuse: strings.Join(args[2:], " ")})
	case "policy":
		var p cloud.CertificatePolicy
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &p))
		z.vault.SetPolicy(args[1], p)
	case "created":
		if got := strconv.Itoa(z.vault.Created()); got != args[1] {
			ts.Fatalf("%s versions were asked for, want %s", got, args[1])
		}
	case "renew":
		_, err := z.vault.Renew(args[1])
		ts.Check(err)
	case "private":
		z.vault.Private(len(args) < 2 || args[1] == "on")
		at := strings.TrimPrefix(z.url, "https://")
		s.outside.Store(&at)
	case "fail":
		status, err := strconv.Atoi(args[2])
		ts.Check(err)
		z.cloud.Fail(cloud.Service(args[1]), cloud.Fault{Times: -1, Status: status})
	case "hang":
		z.cloud.Fail(cloud.Service(args[1]), cloud.Fault{Times: -1, Method: args[2], Hang: true, After: len(args) > 3})
		z.hung = regexp.MustCompile("^" + args[2] + " .*" + args[1])
		z.seen = z.requests(z.hung)
	case "reached":
		await(ts, "a request "+z.hung.String(), func() bool { return z.requests(z.hung) > z.seen })
	case "recover":
		z.cloud.Recover()
	case "disable":
		z.app.Disable(len(args) < 2 || args[1] == "on")
	case "permit":
		z.app.Permit(args[1])
	case "has", "holds":
		want := slices.Clone(args[1:])
		if args[0] == "holds" {
			for i, path := range want {
				want[i] = certificate.Describe(leafOf(ts, path)).Thumbprint
			}
		}
		var got []string
		for _, cert := range z.app.Certificates() {
			got = append(got, certificate.Describe(cert).Thumbprint)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			ts.Fatalf("the application has %v, want %v", got, want)
		}
	case "changes":
		n := z.requests(regexp.MustCompile("^PATCH |Key$"))
		counted(ts, args[1], int64(n-z.changes))
		z.changes = n
	case "firewall":
		z.vault.Firewall(len(args) < 2 || args[1] == "on")
	default:
		ts.Fatalf("no such thing: azure %s", args[0])
	}
}

func startAzure(ts *testscript.TestScript) *scriptAzure {
	c, err := cloud.New(cloud.Options{})
	ts.Check(err)
	server, err := c.Start()
	ts.Check(err)
	ts.Defer(server.Close)
	ca := ts.MkAbs("azure-ca.pem")
	ts.Check(os.WriteFile(ca, c.CA(), 0o600))
	ts.Setenv("SSL_CERT_FILE", ca)
	ts.Setenv("HTTPS_PROXY", server.Proxy)
	for name, value := range map[string]string{"TENANT": azureTenant, "CLIENT": azureClient, "VAULT": azureVault} {
		ts.Setenv(name, value)
	}
	z := &scriptAzure{cloud: c, url: server.URL, app: c.AddApplication(azureTenant, azureClient, azureObject), vault: c.AddVault(azureVault, azureTenant)}
	z.vault.Allow(azureClient, true)
	return z
}

// leafOf returns the certificate of an agent's file, or of a PEM file.
func leafOf(ts *testscript.TestScript, path string) *x509.Certificate {
	text := ts.ReadFile(path)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		cert, err := x509.ParseCertificate(block.Bytes)
		ts.Check(err)
		return cert
	}
	c, err := certificate.Inspect([]byte(text))
	ts.Check(err)
	_, chain := c.KeyPair()
	return chain[0]
}

// unpem: unpem FILE OUT writes an agent's file as PEM: key and certificates.
func unpem(ts *testscript.TestScript, _ bool, args []string) {
	c, err := certificate.Inspect([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	key, chain := c.KeyPair()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	text := "-----BEGIN PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString(der) + "\n-----END PRIVATE KEY-----\n"
	for _, cert := range chain {
		text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}
