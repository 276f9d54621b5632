package certificate

import (
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// onWindows has what the hints for PowerShell name, for sh: it reads their lines alike where a
// path has no quote. aoifleet shows what it is given as the certificate.
const onWindows = `certutil() { test ! -e "$3" && base64 -di "$2" >"$3"; }; aoifleet() { cat "$4"; }; `

// The hints for PowerShell reach the certificate, and leave no file.
func TestHintsOnWindows(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	encoded := func(name string) []byte { return []byte(base64.StdEncoding.EncodeToString(read(name)) + "\r\n") }
	for name, c := range map[string]struct {
		file []byte
		raw  bool
		hint string
	}{
		"P12":           {read("passphrase.p12"), true, hintPassphrase},
		"base64 of P12": {encoded("passphrase.p12"), false, hintPassphrase},
		"base64 of PEM": {encoded("pair.pem"), false, hintAllPEM},
		"PEM":           {read("pair.pem"), false, hintFromPEM},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "my file")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			command := hintOn("windows", flawed(c.hint, "").addressed(c.raw).hint, "FILE", path)
			command = strings.ReplaceAll(strings.Replace(command, " -nodes", " -passin pass:secret -nodes", 1), "Remove-Item", "rm")
			cmd := exec.Command("sh", "-c", onWindows+command)
			cmd.Dir = dir
			out, err := cmd.Output()
			if block, _ := pem.Decode(out); err != nil || block == nil {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("%s: leaves %v", command, left)
			}
		})
	}
}

// Nothing of sh is left in a hint for PowerShell, and paths are quoted for it.
func TestHintsForPowerShell(t *testing.T) {
	for _, hint := range []string{hintDecode, hintJSON, hintURL, hintUnquote, hintOpenSSH, hintDecryptKey, hintCertPKCS7DER, hintAddKeyDER, hintAddCertDER,
		hintAllPEM, hintDamaged, hintReexport, hintMissingKey, hintMissingCert, hintCompare} {
		got := hintOn("windows", flawed(hint, "").addressed(false).hint, "FILE", `C:\it's.p12`, "KEY", `C:\it's.p12`, "CERTIFICATE", `C:\it's.p12`)
		for _, sh := range []string{"base64 -di", "mktemp", "&&", "set -C", "umask", "$d", "jq ", "tr ", "rm -r", `"'"`} {
			if strings.Contains(got, sh) {
				t.Errorf("%s has %s", got, sh)
			}
		}
		if !strings.Contains(got, `'C:\it''s.p12'`) {
			t.Errorf("no quoted path: %s", got)
		}
	}
}
