//go:build linux

package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const windowSize = 24 // bytes; what is shorter may be there by chance

// secrets are all windows of the bytes that must not be seen.
type secrets map[string]bool

func (s secrets) add(text []byte) {
	for i := 0; i+windowSize <= len(text); i++ {
		s[string(text[i:i+windowSize])] = true
	}
}

// addBase64 adds the text that data becomes in base64, which differs with the
// place where it begins.
func (s secrets) addBase64(data []byte) {
	for shift := range 3 {
		s.add([]byte(base64.RawStdEncoding.EncodeToString(data[shift : len(data)-(len(data)-shift)%3])))
	}
}

// addIdentity adds the seed of the key that the operator logs in with.
func (s secrets) addIdentity(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	seed := key.(*ed25519.PrivateKey).Seed()
	s.add(seed)
	s.addBase64(seed)
}

// found returns where in text a secret is.
func (s secrets) found(text []byte) (at int, ok bool) {
	for i := 0; i+windowSize <= len(text); i++ {
		if s[string(text[i:i+windowSize])] {
			return i, true
		}
	}
	return 0, false
}

// secretsOf are those of a certificate file: its own text, and its private key
// in every form in which it might slip out.
func secretsOf(t *testing.T, s secrets, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.add(text)
	der, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, err := pkcs12.DecodeChain(der, "")
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	// The modulus is public, so only what comes after it counts: the private
	// exponent and the primes (RFC 8017 appendix A.1.2).
	private := pkcs8[len(pkcs8)/2:]
	s.add(private)
	s.addBase64(private)
	s.add([]byte(fmt.Sprintf("%x", private)))
	s.add([]byte(fmt.Sprintf("%v", private)))
}

// arguments samples the command lines and the environments of all processes of
// this machine until it is stopped (proc_pid_cmdline(5), proc_pid_environ(5)).
func arguments(known secrets) (stop func() (samples int, leaks []string)) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	var samples int
	var leaks []string
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, what := range []string{"cmdline", "environ"} {
				paths, _ := filepath.Glob("/proc/[0-9]*/" + what)
				for _, path := range paths {
					text, err := os.ReadFile(path)
					if err != nil {
						continue // it has ended
					}
					samples++
					if _, ok := known.found(text); ok {
						leaks = append(leaks, path)
					}
				}
			}
		}
	})
	return func() (int, []string) { close(done); wg.Wait(); return samples, leaks }
}

// A rotation, a rollback, a broken connection and a check: no output contains a part of a
// private key, and on the hosts only the certificate, its backups and the staging area do,
// each readable by its owner only.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	names := []string{"well", "refused", "lost"}
	f := startFleet(t, lab.Options{Machines: len(names), Name: func(i int) string { return names[i] }, Parallel: 3, MaxFailures: 99})
	setFault(t, f, "refused", "log-only "+f.NewThumbprint())
	setFault(t, f, "lost", "cut-on step=watch")
	known := secrets{}
	for _, name := range []string{lab.OldCertificate, lab.NewCertificate} {
		secretsOf(t, known, f.CertificateFile(name))
	}
	known.addIdentity(t, f.IdentityFile())
	password := f.CertificateFile("sftp-password")
	if err := os.WriteFile(password, []byte("the password of the SFTP source\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	known.add([]byte("the password of the SFTP source"))
	known.addBase64([]byte("the password of the SFTP source"))
	digest := sha256.Sum256([]byte("the password of the SFTP source"))
	known.add(fmt.Appendf(nil, "%x", digest))
	setting := []string{"secret", "set", lab.SourcePassword, "--from-file", password, "--limit", "well"}

	stop := arguments(known)
	for _, args := range [][]string{
		{"plan", "--out", f.Dir() + "/plan.json"}, {"rotate", "--plan", f.Dir() + "/plan.json", "--dry-run"}, {"rotate", "--yes", "-o", "json"}, {"rotate", "--yes"}, {"status", "-o", "json"}, {"status"},
		{"certificate", "inspect", f.CertificateFile(lab.NewCertificate)},
		{"rotate", "--yes", "--certificate", f.IdentityFile()},
		append(setting, "--dry-run"), append(setting, "--dry-run", "-o", "json"), append(setting, "--yes", "-o", "json", "--report", f.Dir()+"/run.html"), append(setting, "--yes"),
		{"backups", "list", "-o", "json"}, {"runs", "show", "last"}, {"rollback", "last", "--yes", "-o", "json"}, {"status", "-o", "json"}, setting,
		{"plan", "-i", f.CertificateFile(lab.NewCertificate)},
	} {
		_, stdout, stderr := call(f, args...)
		for _, text := range []string{stdout, stderr} {
			if at, ok := known.found([]byte(text)); ok {
				t.Errorf("%v prints a secret: …%s", args, text[max(0, at-60):at])
			}
		}
	}
	if samples, leaks := stop(); samples == 0 || len(leaks) > 0 {
		t.Errorf("%d samples, secrets in %v", samples, leaks)
	}
	if m := f.Machine("well"); m.LiveThumbprint() != f.NewThumbprint() {
		t.Error("nothing was rotated")
	}
	if text, err := os.ReadFile(f.Dir() + "/plan.json"); err != nil || !strings.Contains(string(text), f.NewThumbprint()) {
		t.Errorf("the saved plan is not among the files: %v", err)
	}
	checkFiles(t, f, known, 5)
}

// With questions to Azure: no key, no token and no secret of the vault is printed or kept,
// neither in a saved plan nor in a journal.
func TestAzureSecretsStayInMemory(t *testing.T) {
	t.Parallel()
	azure, err := startLabAzure()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(azure.server.Close)
	f := startFleet(t, azure.beside(lab.Options{Machines: 1, Name: func(int) string { return "well" }}))
	if err := azure.join(f, lab.OldCertificate); err != nil {
		t.Fatal(err)
	}
	known := secrets{}
	known.add([]byte(labSASSecret))
	for _, name := range []string{lab.OldCertificate, lab.NewCertificate} {
		secretsOf(t, known, f.CertificateFile(name))
	}
	sign := []string{"--sign-with", f.CertificateFile(lab.OldCertificate), "--yes"}
	for _, step := range []struct {
		code int
		args []string
	}{
		{problem.ExitRefused, []string{"plan", "--verify-wait", "0s"}},
		{problem.ExitRefused, []string{"rotate", "--yes", "--verify-wait", "0s", "-o", "json"}},
		{problem.ExitOK, append([]string{"certificate", "register", "-o", "json"}, sign...)},
		{problem.ExitOK, []string{"certificate", "verify"}},
		{problem.ExitOK, []string{"certificate", "verify", "-o", "json"}},
		{problem.ExitOK, []string{"plan", "--out", f.Dir() + "/plan.json"}},
		{problem.ExitOK, []string{"rotate", "--yes", "--plan", f.Dir() + "/plan.json"}},
		{problem.ExitRefused, append([]string{"certificate", "retire", f.NewThumbprint()}, sign...)},
	} {
		code, stdout, stderr := call(f, step.args...)
		if code != step.code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", step.args, code, step.code, stdout, stderr)
		}
		for _, text := range []string{stdout, stderr} {
			at, ok := known.found([]byte(text))
			if ok || strings.Contains(text, "eyJ") { // a token begins so (RFC 7519)
				t.Errorf("%v prints a secret: …%s", step.args, text[max(0, at-60):])
			}
		}
	}
	checkFiles(t, f, known, 4)
}

// checkFiles checks every file of the fleet.
func checkFiles(t *testing.T, f *lab.Fleet, known secrets, least int) {
	t.Helper()
	held := 0
	err := filepath.WalkDir(f.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, ok := known.found(text); !ok {
			return nil
		}
		held++
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !mayHold(strings.TrimPrefix(path, f.Dir())) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s (%v) holds a secret", path, info.Mode())
		}
		return nil
	})
	if err != nil || held < least {
		t.Errorf("%d files hold a secret, %v", held, err)
	}
	for _, m := range f.Machines() {
		for _, dir := range []string{"", "/backups"} {
			info, err := os.Stat(m.Root + "/var/lib/aoifleet/" + lab.Unit + dir)
			if err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v, %v", m.Name, info, err)
			}
		}
	}
}

func mayHold(path string) bool {
	switch {
	case path == "/id_ed25519", strings.HasPrefix(path, "/certs/"), strings.HasSuffix(path, lab.CertificatePath), strings.HasSuffix(path, "/secrets/"+lab.SourcePassword):
		return true
	}
	_, kept, ok := strings.Cut(path, "/root/var/lib/aoifleet/"+lab.Unit+"/")
	// A receipt has digests.
	return ok && (slices.Contains([]string{"confirmed", "rolled-back"}, kept) || strings.HasPrefix(kept, "backups/") && slices.Contains([]string{"certificate", "receipt"}, filepath.Base(kept)))
}
