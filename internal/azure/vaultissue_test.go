package azure

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// certificate is the certificate fleet of the vault, and its operator may create it.
func (w *world) certificate() *VaultCertificate {
	w.Helper()
	who := w.reader()
	w.vault.AllowOfficer("", true)
	v, err := w.client.VaultCertificate(who, Reference{Vault: vault, Name: "fleet"})
	if err != nil {
		w.Fatal(err)
	}
	return v
}

func (w *world) posts() (n int) {
	for _, path := range w.cloud.Paths() {
		if strings.HasPrefix(path, "POST ") && strings.HasSuffix(path, "/create") {
			n++
		}
	}
	return n
}

// A self-signed certificate is made after a while, and its secret is what the agent needs.
func TestVaultMakesACertificate(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		v := w.certificate()
		if p, err := v.Policy(background()); p != nil || err != nil {
			w.Fatal(p, err)
		}
		if o, err := v.Pending(background()); o != nil || err != nil {
			w.Fatal(o, err)
		}
		if one, err := v.Newest(background()); one != nil || err != nil {
			w.Fatal(one, err)
		}
		w.vault.Issue(cloud.Issuance{Polls: 3})
		p := NewPolicy("CN=agents,O=Contoso", IssuerSelf, 12, 2048)
		o, err := v.Create(background(), p)
		if err != nil || !o.InProgress() || o.NeedsAnswer() || o.CarriedOn {
			w.Fatal(o, err)
		}
		// A second client, or a second call, carries that one on.
		again, err := v.Create(background(), p)
		if err != nil || again.ID != o.ID || !again.CarriedOn || w.posts() != 1 {
			w.Fatal(again, err)
		}
		if one, err := v.Newest(background()); one != nil || err != nil {
			w.Fatal("one that is not complete is the newest", one, err)
		}
		if done, err := v.Wait(background(), time.Minute); err != nil || done.ID != o.ID || done.InProgress() {
			w.Fatal(done, err)
		}
		one, err := v.Newest(background())
		if err != nil {
			w.Fatal(err)
		}
		cert, err := x509.ParseCertificate(one.DER)
		if err != nil || cert.Subject.String() != "CN=agents,O=Contoso" || cert.NotAfter.Before(time.Now().AddDate(0, 11, 25)) || !one.NotAfter.Equal(cert.NotAfter) || one.Disabled || len(one.ID) != 32 {
			w.Fatal(cert, one, err)
		}
		file, err := w.client.Fetch(background(), v.signIn.TokenCredential, Reference{Vault: vault, Name: "fleet", Version: one.ID})
		if err != nil || file.PEM {
			w.Fatal(file, err)
		}
		noSecrets(w.T, one, *one, o, done(file))
		// The next version by the policy that is there, and then one that the vault makes itself.
		if got, err := v.Policy(background()); err != nil || got.Unusable() != "" || got.Renews() != "" || got.X509.Subject != p.X509.Subject {
			w.Fatal(got, err)
		}
		w.vault.Issue(cloud.Issuance{})
		time.Sleep(time.Minute)
		if _, err := v.Create(background(), nil); err != nil {
			w.Fatal(err)
		}
		if _, err := v.Wait(background(), time.Minute); err != nil {
			w.Fatal(err)
		}
		if _, err := w.vault.Renew("fleet"); err == nil {
			w.Error("the vault renews what nothing says it has to")
		}
		p.RenewBefore(30)
		if _, err := v.Create(background(), p); err != nil || p.Renews() != "30 days before its end" {
			w.Fatal(p.Renews(), err)
		}
		_, err = v.Wait(background(), time.Minute)
		time.Sleep(time.Minute)
		renewed, renewErr := w.vault.Renew("fleet")
		last, lastErr := v.Newest(background())
		if err != nil || renewErr != nil || lastErr != nil || last.ID != renewed {
			w.Fatal(last, renewed, err, renewErr, lastErr)
		}
		list, err := v.Versions(background())
		if err != nil || len(list) != 4 || list[0].ID != renewed || list[3].ID != one.ID {
			w.Error(list, err)
		}
	})
}

func done(f *File) string { return f.String() }

// A list of versions has pages, whose address is not followed to another host.
func TestVersionsHavePages(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		v := w.certificate()
		var want []string
		for range 60 {
			time.Sleep(time.Second)
			want = append(want, w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", Public: w.pair(0, year).Leaf().Raw}))
		}
		slices.Reverse(want)
		list, err := v.Versions(background())
		var got []string
		for _, one := range list {
			got = append(got, one.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			w.Fatal(got, err)
		}
		w.vault.Set("fleet", cloud.StoredSecret{Disabled: true, Public: w.pair(0, year).Leaf().Raw})
		if one, err := v.Newest(background()); err != nil || one.ID != want[0] {
			w.Error(one, err)
		}
		for next, words := range map[string]string{
			`https://evil.example/?$skiptoken=1`: "contoso-dp-kv.vault.azure.net sent", // again and again
			`https://evil.example/`:              "contoso-dp-kv.vault.azure.net sent",
			`:`:                                  "contoso-dp-kv.vault.azure.net sent",
		} {
			w.cloud.Recover()
			w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 200, Body: `{"value":[],"nextLink":"` + next + `"}`})
			_, err := v.Versions(background())
			w.fails(err, problem.Unexpected, words)
		}
		for _, body := range []string{`{"value":[{"id":"https://evil/../x"}]}`, `nothing`} {
			w.cloud.Recover()
			w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 200, Body: body})
			_, err := v.Versions(background())
			w.fails(err, problem.Unexpected, "sent")
		}
		if slices.ContainsFunc(w.cloud.Paths(), func(p string) bool { return strings.Contains(p, "evil") }) {
			w.Error("another host was asked")
		}
	})
}

// An authority that the vault does not know signs the request, and only its answer completes it.
func TestVaultMergesAnAnswer(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		v := w.certificate()
		o, err := v.Create(background(), NewPolicy("CN=agents", IssuerUnknown, 12, 2048))
		if err != nil || !o.NeedsAnswer() {
			w.Fatal(o, err)
		}
		if o, err = v.Wait(background(), 0); err != nil || !o.NeedsAnswer() {
			w.Fatal(o, err)
		}
		request, err := x509.ParseCertificateRequest(o.CSR)
		if err != nil || request.CheckSignature() != nil || request.Subject.String() != "CN=agents" {
			w.Fatal(request, err)
		}
		other := w.pair(1, year)
		err = v.Merge(background(), []*x509.Certificate{other.Leaf()})
		w.fails(err, problem.Forbidden, "does not match the public part")
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: request.Subject, NotBefore: time.Now(), NotAfter: time.Now().Add(year)}
		der, err := x509.CreateCertificate(rand.Reader, template, other.Leaf(), request.PublicKey, keys[1])
		if err != nil {
			w.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			w.Fatal(err)
		}
		if err := v.Merge(background(), []*x509.Certificate{cert, other.Leaf()}); err != nil {
			w.Fatal(err)
		}
		if one, err := v.Newest(background()); err != nil || string(one.DER) != string(der) {
			w.Error(one, err)
		}
	})
}

// An issuer that refuses or does not answer is named, and the vault's own refusals too.
func TestVaultMakesNothing(t *testing.T) {
	create := func(w *world) error {
		v := w.certificate()
		w.vault.AddIssuer("contoso-ca")
		if _, err := v.Create(background(), NewPolicy("CN=agents", "contoso-ca", 12, 2048)); err != nil {
			return err
		}
		_, err := v.Wait(background(), 2*time.Minute)
		return err
	}
	tests := []struct {
		name    string
		arrange func(w *world)
		do      func(w *world) error
		class   problem.Class
		words   string
	}{
		{"refused", func(w *world) { w.vault.Issue(cloud.Issuance{Refuse: "no money"}) }, create, problem.Refused, "its issuer contoso-ca: failed: no money"},
		{"slow", func(w *world) { w.vault.Issue(cloud.Issuance{Polls: -1}) }, create, problem.Unsettled, "contoso-ca has not answered within 2m0s"},
		{"unknown issuer", func(*world) {}, func(w *world) error {
			_, err := w.certificate().Create(background(), NewPolicy("CN=a", "nobody", 12, 2048))
			return err
		}, problem.Forbidden, "Issuer nobody was not found"},
		{"no policy", func(*world) {}, func(w *world) error {
			_, err := w.certificate().Create(background(), nil)
			return err
		}, problem.Forbidden, "HTTP 400"},
		{"reader", func(*world) {}, func(w *world) error {
			v := w.certificate()
			w.vault.AllowOfficer("", false)
			w.vault.AllowPublic("", true)
			_, err := v.Create(background(), NewPolicy("CN=a", IssuerSelf, 12, 2048))
			return err
		}, problem.Forbidden, "the role Key Vault Certificates Officer"},
		{"merged while its issuer works", func(*world) {}, func(w *world) error {
			v := w.certificate()
			w.vault.AddIssuer("contoso-ca")
			w.vault.Issue(cloud.Issuance{Polls: -1})
			if _, err := v.Create(background(), NewPolicy("CN=a", "contoso-ca", 12, 2048)); err != nil {
				return err
			}
			return v.Merge(background(), []*x509.Certificate{w.pair(1, year).Leaf()})
		}, problem.Forbidden, "| wait for its issuer"},
		{"deleted", func(w *world) {
			w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Method: http.MethodPost, Status: 409, Body: `{"error":{"code":"Conflict","message":"Certificate fleet is currently in a deleted but recoverable state","innererror":{"code":"ObjectIsDeletedButRecoverable"}}}`})
		}, create, problem.Forbidden, "az keyvault certificate recover --vault-name contoso-dp-kv --name fleet"},
		{"firewall", func(w *world) { w.vault.Firewall(true) }, create, problem.Forbidden, "the vault's firewall blocks this machine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				tt.arrange(w)
				w.fails(tt.do(w), tt.class, tt.words)
			})
		})
	}
}

// Of two requests whose answers are lost the first has made one, and no second is made.
func TestCreateWhoseAnswerIsLost(t *testing.T) {
	for _, after := range []bool{true, false} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				v := w.certificate()
				if _, err := v.Create(background(), NewPolicy("CN=a", IssuerSelf, 12, 2048)); err != nil { // an earlier one
					w.Fatal(err)
				}
				if _, err := v.Wait(background(), time.Minute); err != nil {
					w.Fatal(err)
				}
				w.cloud.Fail(cloud.Vault, cloud.Fault{Times: 1, Method: http.MethodPost, Status: 502, After: after})
				o, err := v.Create(background(), NewPolicy("CN=a", IssuerSelf, 12, 2048))
				if !after {
					w.fails(err, problem.Unreachable, "whether a version is being created is unknown")
					return
				}
				if err != nil || o.CarriedOn {
					w.Fatal(o, err)
				}
				if w.posts() != 2 {
					w.Error(w.cloud.Paths())
				}
			})
		})
	}
}

// Nor is a creation that is interrupted said not to have begun.
func TestCreateIsInterrupted(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		v := w.certificate()
		w.cloud.Fail(cloud.Vault, cloud.Fault{Times: 1, Method: http.MethodPost, Hang: true})
		ctx, cancel := context.WithTimeout(background(), 5*time.Second)
		defer cancel()
		_, err := v.Create(ctx, NewPolicy("CN=a", IssuerSelf, 12, 2048))
		w.fails(err, problem.Interrupted, "whether a version is being created is unknown")
	})
}

// A wait ends with its context.
func TestWaitEnds(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		v := w.certificate()
		w.vault.Issue(cloud.Issuance{Polls: -1})
		if _, err := v.Create(background(), NewPolicy("CN=a", IssuerSelf, 12, 2048)); err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(background(), time.Minute)
		defer cancel()
		_, err := v.Wait(ctx, time.Hour)
		w.fails(err, problem.Interrupted, "interrupted")
	})
}

func TestUnusablePolicies(t *testing.T) {
	for words, change := range map[string]func(p *Policy){
		"":                             func(*Policy) {},
		"type EC:":                     func(p *Policy) { p.Key.Type = "EC" },
		"type RSA-HSM":                 func(p *Policy) { p.Key.Type = "RSA-HSM" },
		"type (none)":                  func(p *Policy) { p.Key.Type = "" },
		"1024 bits":                    func(p *Policy) { p.Key.Size = 1024 },
		"not exportable":               func(p *Policy) { p.Key.Exportable = false },
		`content type is "text/plain"`: func(p *Policy) { p.Secret.ContentType = "text/plain" },
	} {
		p := NewPolicy("CN=a", IssuerSelf, 12, 2048)
		if change(p); !strings.Contains(p.Unusable(), words) || words == "" && p.Unusable() != "" {
			t.Errorf("%q: %q", words, p.Unusable())
		}
	}
}
