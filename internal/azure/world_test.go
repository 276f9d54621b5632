package azure

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const (
	tenant = "11111111-aaaa-4bbb-8ccc-000000000001"
	other  = "11111111-aaaa-4bbb-8ccc-000000000002"
	app    = "22222222-aaaa-4bbb-8ccc-000000000001"
	object = "33333333-aaaa-4bbb-8ccc-000000000001"
	vault  = "contoso-dp-kv"
	sas    = "https://contoso.blob.core.windows.net/in?sv=2024&sig=TOPSECRETVALUE%3D"
)

// keys are made once: it takes long, and a bubble must not wait for it.
var keys [3]*rsa.PrivateKey

func TestMain(m *testing.M) {
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is a pretend Azure with an application, its vault and a client.
type world struct {
	*testing.T
	cloud  *cloud.Cloud
	app    *cloud.Application
	vault  *cloud.KeyVault
	client *Client
	atEnd  []func()
}

// inBubble runs a test with a clock of its own, which goes on while all wait.
func inBubble(t *testing.T, o cloud.Options, p Patience, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t}
		var err error
		if w.cloud, err = cloud.New(o); err != nil {
			t.Fatal(err)
		}
		w.app = w.cloud.AddApplication(tenant, app, object)
		w.vault = w.cloud.AddVault(vault, tenant)
		w.vault.Allow(app, true)
		w.vault.Set(InputSecret, cloud.StoredSecret{Value: sas, Expires: time.Now().Add(48 * time.Hour)})
		transport, stop := w.cloud.Transport()
		w.client = w.with(transport, azurecloud.Settings{}, p)
		w.atEnd = []func(){stop}
		defer func() {
			for _, end := range slices.Backward(w.atEnd) {
				end()
			}
			// Closing connections takes up to a second (close_notify), and the
			// bubble's clock stops when this function returns.
			time.Sleep(10 * time.Second)
		}()
		f(w)
	})
}

func (w *world) with(transport *http.Transport, c azurecloud.Settings, p Patience) *Client {
	w.Helper()
	client, err := New(c, transport, p)
	if err != nil {
		w.Fatal(err)
	}
	return client
}

// pair is a certificate for one of the keys, from a day ago on for so long.
func (w *world) pair(n int, life time.Duration) Pair { return newPair(w.T, n, life) }

func newPair(t *testing.T, n int, life time.Duration) Pair {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: fmt.Sprintf("agent %d", n)},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &keys[n].PublicKey, keys[n])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPair([]*x509.Certificate{cert}, keys[n])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const year = 365 * 24 * time.Hour

// registered is a pair that the application has.
func (w *world) registered(n int, s cloud.Spread) Pair {
	p := w.pair(n, year)
	w.app.Register(p.Leaf(), s)
	return p
}

func question(p Pair) Question {
	return Question{TenantID: tenant, ClientID: app, Vault: vault, Pair: p}
}

// fails wants an error of a class whose words have this.
func (w *world) fails(err error, class problem.Class, words string) *Error {
	w.Helper()
	e := AsError(err)
	if e == nil || e.Class != class || !strings.Contains(e.Message+" | "+e.Hint, words) {
		w.Fatalf("error %#v\nwant class %s and the words %q", err, class, words)
	}
	noSecrets(w.T, err)
	return e
}

// noSecrets looks for what must never be printed, in every form of printing.
func noSecrets(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, form := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			text := fmt.Sprintf(form, v)
			for _, bad := range []string{"TOPSECRET", "eyJ", keys[0].D.String()[:20], keys[1].D.String()[:20], "PRIVATE KEY"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s of %T has %q:\n%s", form, v, bad, text)
				}
			}
		}
	}
}

func background() context.Context { return context.Background() }
