package host

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

var shaA, shaB = strings.Repeat("a", 64), strings.Repeat("b", 64)

func TestParsePackage(t *testing.T) {
	got, err := parsePackage([]byte("manager=apt\ninstalled=1:2.0.0-1\nheld=yes\nbroken=dpkg was \x1b[2Jinterrupted\nversion=2.1.0-1\nversion=-o=x\nversion=$(id)\nversion=2.0.0~rc1-1\nnote=old lists\nolder=yes\nresult=versions\n"))
	want := &Package{Manager: "apt", Installed: "1:2.0.0-1", Held: true, Older: true, Broken: got.Broken, Available: []string{"2.1.0-1", "2.0.0~rc1-1"}, Notes: []string{"old lists", "the agent was not restarted since its version was installed: it runs the former one"}}
	if err != nil || !reflect.DeepEqual(got, want) || strings.Contains(got.Broken, "\x1b") {
		t.Errorf("%+v %v", got, err)
	}
	many := "manager=dnf\n" + strings.Repeat("version=1\n", 500) + "result=versions\n"
	if got, err = parsePackage([]byte(many)); err != nil || len(got.Available) != maxVersions {
		t.Errorf("%v %v", got, err)
	}
	for _, out := range []string{
		"", "manager=apt\n", "manager=pip\nresult=versions\n", "result=versions\n", "manager=apt\ninstalled=-1\nresult=versions\n",
		"error=configuration no package manager\nmanager=apt\nresult=versions\n",
	} {
		if got, err := parsePackage([]byte(out)); err == nil || got != nil {
			t.Errorf("%q: %+v", out, got)
		}
	}
}

func TestParseFetched(t *testing.T) {
	asked := PackageChange{Name: "az-aoi-ingestion", Manager: "apt", From: "1.0-1", To: "2.0-1"}
	got, err := parseFetched([]byte("package_old="+shaA+" 10\npackage_new="+shaB+" 20\nresult=fetched\n"), asked)
	if err != nil || got.Old != (PackageFile{shaA, 10}) || got.New != (PackageFile{shaB, 20}) || got.To != "2.0-1" {
		t.Errorf("%+v %v", got, err)
	}
	for _, out := range []string{
		"package_old=" + shaA + " 10\npackage_new=" + shaB + " 20\n", "package_old=" + shaA + " 10\nresult=fetched\n",
		"package_old=" + shaA + "\npackage_new=" + shaB + " 20\nresult=fetched\n", "package_old=" + shaA + " 10\npackage_new=" + strings.ToUpper(shaB) + " 20\nresult=fetched\n",
	} {
		if _, err := parseFetched([]byte(out), asked); err == nil {
			t.Errorf("%q was taken", out)
		}
	}
}

func TestParseSavedPackage(t *testing.T) {
	line := "az-aoi-ingestion apt 1.0-1 2.0-1 " + shaA + " " + shaB
	f := parseFound([]byte("backup=r none none 1 configuration\nsaved_package=" + line + "\n"))
	f.addSaved("r")
	want := &PackageChange{Name: "az-aoi-ingestion", Manager: "apt", From: "1.0-1", To: "2.0-1", Old: PackageFile{Digest: shaA}, New: PackageFile{Digest: shaB}}
	if got := f.backups[0].Package; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	back := want.Reversed("r")
	if back.From != "2.0-1" || back.To != "1.0-1" || back.Old.Digest != shaB || back.New.Digest != shaA || back.Saved != "r" {
		t.Errorf("%+v", back)
	}
	for _, text := range []string{"", line + " more", strings.Replace(line, "az-aoi", "-Xaz", 1), strings.Replace(line, " apt ", " pip ", 1), strings.Replace(line, "1.0-1", "--root=/x", 1), strings.Replace(line, shaB, shaB+"0", 1)} {
		if got := parseSavedPackage(text); got != nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestPackageValues are sent only where they are used: an earlier script knows none of them.
func TestPackageValues(t *testing.T) {
	v := New(nil, inventory.Host{}, Run{ID: "r"}, nil)
	keys := func(c Change) (found []string) {
		for _, value := range v.changeValues(c) {
			if strings.HasPrefix(value.key, "package") || strings.HasPrefix(value.key, "version") || value.key == "manager" {
				found = append(found, value.key)
			}
		}
		return found
	}
	if got := keys(Change{Seen: &Observation{}}); got != nil {
		t.Errorf("without a package: %v", got)
	}
	want := "package manager version_old version_new package_old package_new package_saved"
	if got := keys(Change{Seen: &Observation{}, Package: &PackageChange{}}); strings.Join(got, " ") != want {
		t.Errorf("%v", got)
	}
}

// TestPackageIsRefused without a word to the host: with the helper, and with a name or version
// that no package manager uses.
func TestPackageIsRefused(t *testing.T) {
	good := PackageChange{Name: "az-aoi-ingestion", Manager: "apt", From: "1.0-1", To: "2.0-1", Old: PackageFile{Digest: shaA}, New: PackageFile{Digest: shaB}}
	bad := good
	bad.To = "2.0 -o Acquire::Check=false"
	for helper, c := range map[string]PackageChange{HelperPath: good, "": bad} {
		v := New(nil, inventory.Host{Helper: helper}, Run{ID: "r"}, nil)
		if r := v.Rotate(t.Context(), Change{Seen: &Observation{}, Package: &c}, nil); r.Ending != Refused || r.Problem == nil {
			t.Errorf("helper %q: %+v", helper, r)
		}
		if _, err := v.Fetch(t.Context(), c); err == nil {
			t.Errorf("helper %q: fetched", helper)
		}
	}
}
