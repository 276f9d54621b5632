//go:build unix

package localfile

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Exposed judges as ssh-keygen does: any bit of group or others, of a file of the user.
func TestExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode := range fs.FileMode(0o1000) {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("mode %04o", mode)
		if mode&0o077 == 0 {
			want = ""
		}
		if got := Exposed(path); got != want {
			t.Errorf("mode %04o: %s", mode, got)
		}
	}
	for _, other := range []string{os.DevNull, "/no/such/file", t.TempDir(), "/dev/stdin"} {
		if got := Exposed(other); got != "" {
			t.Errorf("%s: %s", other, got)
		}
	}
}

// ssh itself refuses the same modes (sshkey_perm_ok in authfile.c).
func TestExposedAsSSH(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o700, 0o640, 0o604, 0o610, 0o601, 0o620, 0o602, 0o644, 0o777} {
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ssh-keygen", "-y", "-f", key).CombinedOutput()
		if refused := Exposed(key) != ""; refused != (err != nil) {
			t.Errorf("mode %04o: %v, ssh-keygen: %v\n%s", mode, refused, err, out)
		}
	}
}
