package newinventory

import (
	"os"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

func TestFromAzure(t *testing.T) {
	data, err := os.ReadFile("testdata/vms.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := FromAzure(data, nil, false, testEnv)
	whole, inv := written(t, d, err)
	const want = "aoi-london.edr-1=azureuser@10.20.0.11 edr-2=azureuser@10.20.0.12 aoi-paris.edr-1=admin@10.30.0.11"
	if hosts(inv) != want {
		t.Errorf("got  %s\nwant %s", hosts(inv), want)
	}
	if h := inv.Hosts[0]; h.Group != "aoi-london" || h.Labels["site"] != "london" || h.Labels["cost-centre"] != "0042" || len(h.Labels) != 2 {
		t.Errorf("%+v", h)
	}
	if got, err := inv.Select("site=london:&cost-centre=0042"); err != nil || len(got) != 2 {
		t.Errorf("%v %v", got, err)
	}
	checkNotes(t, d, whole, []string{
		"aoi-london.edr-1: a tag: its name has a character other than letters, digits, \".\", \"_\" and \"-\"",
		"edr-2: only the first of its private addresses",
		"edr-2: it did not run when Azure listed it",
		"win-1: left out: its system is not Linux",
		"no-nic: left out: it has no private address",
	})
	d, err = FromAzure(data, []string{"site"}, true, testEnv)
	if _, inv := written(t, d, err); hosts(inv) != "aoi-london.edr-1=azureuser@203.0.113.7" || len(inv.Hosts[0].Labels) != 1 {
		t.Errorf("%s", hosts(inv))
	}
}

func checkNotes(t *testing.T, d *Draft, whole string, want []string) {
	t.Helper()
	if got := strings.Join(d.Notes(), "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	for _, note := range d.Notes() {
		if !strings.Contains(whole, "\n# - "+note+"\n") {
			t.Errorf("%q is not in the file", note)
		}
	}
}

func TestFromAzureRefuses(t *testing.T) {
	for data, want := range map[string]string{
		"":                "it is not the list of VMs that az vm list prints",
		`{"a": 1}`:        "it is not the list of VMs that az vm list prints",
		`[{"name": 5}]`:   "it is not the list of VMs that az vm list prints",
		`[{"name": "a"}]`: "the list of VMs has no addresses",
		`[]`:              "there are no hosts",
		`[{"name": "a", "privateIps": "10.0.0.1"}, {"name": "b", "privateIps": null, "publicIps": null}]`: "there are no hosts; a, b: left out: its system is not Linux",
	} {
		d, err := FromAzure([]byte(data), nil, false, testEnv)
		if err == nil {
			_, err = d.Text("", testEnv)
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", data, err, want)
		} else {
			fuzz.Problem(t, err, 300)
		}
	}
}

func FuzzFromAzure(f *testing.F) {
	data, err := os.ReadFile("testdata/vms.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`[{"name":"a: b","resourceGroup":"<<","privateIps":"10.0.0.1","tags":{"yes":"no\n","*":""},"storageProfile":{"osDisk":{"osType":"linux"}},"osProfile":null}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := FromAzure(data, nil, false, testEnv)
		checkImport(t, d, err)
	})
}

// checkImport fails t unless a source is refused with one error, or becomes an inventory that is read.
func checkImport(t *testing.T, d *Draft, err error) {
	t.Helper()
	var data []byte
	if err == nil {
		data, err = d.Text("fleet.yaml", testEnv)
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fuzz.Line(t, strings.TrimSuffix(line, "\n"), 2000)
		}
		return
	}
	for _, note := range d.Notes() {
		fuzz.Line(t, note, 1500)
	}
	inv, err := inventory.Parse("fleet.yaml", data, testEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	for _, h := range inv.Hosts {
		if h.CertificateCommand != "" || h.SSHConfig != "" || h.PasswordFrom.Command != "" || h.SudoPassword.Command != "" || h.Health.Command != "" {
			t.Errorf("%+v\n%s", h, data)
		}
	}
}
