package newinventory

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

// needsAnsible skips a test where ansible-inventory is not installed.
func needsAnsible(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(ansibleProgram); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("ansible-inventory is not installed")
	}
}

var printed sync.Map // what ansible-inventory prints, by path: each start takes a second

// run imports an inventory of Ansible with the real program.
func run(t *testing.T, path string, labels, groups []string) (d *Draft, whole string, inv *inventory.Inventory, list []byte) {
	t.Helper()
	t.Setenv("ANSIBLE_INVENTORY_EXPORT", "True") // as ansible.cfg may have it
	data, known := printed.Load(path)
	if !known {
		out, _, err := RunAnsible(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		data = out
		printed.Store(path, data)
	}
	d, err := FromAnsible(data.([]byte), labels, groups, testEnv)
	whole, inv = written(t, d, err)
	return d, whole, inv, data.([]byte)
}

// Each host has the address, port and user that its variables have in Ansible.
func TestAsAnsible(t *testing.T) {
	needsAnsible(t)
	for path, count := range map[string]int{"testdata/hosts.ini": 9, "testdata/tree": 4} {
		_, _, inv, data := run(t, path, nil, nil)
		var list struct {
			Meta struct{ Hostvars map[string]map[string]any } `json:"_meta"`
		}
		if err := json.Unmarshal(data, &list); err != nil || len(inv.Hosts) != count {
			t.Errorf("%s: %s %v", path, hosts(inv), err)
		}
		for _, h := range inv.Hosts {
			text := func(names ...string) string {
				value := ""
				for _, name := range names { // ssh gets the last: ansible -m ping -vvv
					if v := list.Meta.Hostvars[h.Name][name]; v != nil {
						value = strings.ReplaceAll(fmt.Sprint(v), "{{ inventory_hostname }}", h.Name)
					}
				}
				return value
			}
			user, port := "", ""
			if h.Given.User {
				user = h.User
			}
			if h.Given.Port {
				port = fmt.Sprint(h.Port)
			}
			want := [3]string{cmp.Or(text("ansible_host", "ansible_ssh_host"), h.Name), text("ansible_port", "ansible_ssh_port"), text("ansible_user", "ansible_ssh_user")}
			if got := [3]string{h.Address, port, user}; got != want {
				t.Errorf("%s %s: %q, to Ansible %q", path, h.Name, got, want)
			}
		}
	}
}

func TestFromAnsible(t *testing.T) {
	needsAnsible(t)
	d, whole, inv, _ := run(t, "testdata/tree", []string{"site", "rack"}, nil)
	if strings.Contains(whole+strings.Join(d.Notes(), ""), "hunter2") {
		t.Errorf("a secret is in\n%s", whole)
	}
	checkNotes(t, d, whole, []string{
		"london-[1-2]: ansible_ssh_common_args has -o forwardagent: set it in ~/.ssh/config, which applies here too",
		"london-[1-2]: ansible_become_password is not copied: sudo: {password_from: ask} asks for it; or {file: …}, {env: …}, {command: …}",
		"paris-2: ansible_ssh_common_args has a ProxyCommand: set it in ~/.ssh/config, which applies here too; jump: is enough for a jump host",
		"win-1: left out: its ansible_connection is not ssh",
		"1 variables of your own (--label NAME keeps one as a label): db",
	})
	byName := map[string]inventory.Host{}
	for _, h := range inv.Hosts {
		byName[h.Name] = h
	}
	one, paris := byName["london-1"], byName["paris-1"]
	if one.Group != "london" || one.Labels["production"] != "yes" || one.Labels["site"] != "london" || one.Labels["rack"] != "12" || one.Sudo != inventory.SudoPassword || !one.SudoPassword.Ask ||
		len(one.Jump) != 1 || one.Jump[0].String() != "op@bastion.example.net:2022" {
		t.Errorf("%+v", one)
	}
	if len(paris.Jump) != 2 || len(paris.IdentityFiles) != 1 || paris.IdentityFiles[0] != "/keys/paris" || paris.Sudo != inventory.SudoPasswordless || paris.Labels["site"] != "paris" {
		t.Errorf("%+v", paris)
	}
}

// A host is in one group; the others are labels, so that Ansible's patterns have a counterpart.
func TestGroupsOfAnsible(t *testing.T) {
	needsAnsible(t)
	_, _, inv, _ := run(t, "testdata/hosts.ini", nil, []string{"london", "paris"})
	for limit, want := range map[string]int{"london": 5, "paris": 2, "edr=yes": 4, "london:&edr=yes": 3, "europe=yes": 7, "all": 9} {
		if got, err := inv.Select(limit); err != nil || len(got) != want {
			t.Errorf("%s: %d hosts, want %d (%v)", limit, len(got), want, err)
		}
	}
	_, _, inv, _ = run(t, "testdata/hosts.ini", nil, []string{"europe"})
	if got, err := inv.Select("europe"); err != nil || len(got) != 7 || got[6].Sudo != inventory.SudoNone && got[6].User == "root" {
		t.Errorf("%v %v", got, err)
	}
}

// What can't be imported as it is has one error, without a text of Ansible, which quotes files.
func TestRunAnsibleRefuses(t *testing.T) {
	needsAnsible(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"fine.ini": "a\n", "broken.yml": "all:\n  hosts: {a: {ansible_password: hunter2}\n", "comma,x": "a\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for path, want := range map[string]string{
		"socket": "is not a file or folder", "nowhere": "no such file or directory", "": "ansible-inventory can't read", "comma,x": "has a comma",
	} {
		_, _, err := RunAnsible(t.Context(), filepath.Join(dir, path))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(fmt.Sprintf("%#v", err), "hunter2") || !problem.Is(err, problem.Usage) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// No secret of Ansible gets into the text, a note or an error, in whatever variable it is.
func TestSecretsOfAnsible(t *testing.T) {
	const secret = "hunter2"
	values := []string{`"hunter2"`, `{"__ansible_vault": "hunter2"}`, `["hunter2"]`, `{"__ansible_unsafe": "hunter2"}`, `"root:hunter2@h"`, `"{{ hunter2 }}"`, `"-o hunter2=hunter2 -o ProxyCommand=hunter2 -J root:hunter2@h"`, `"a\nhunter2"`}
	for name := range secrets {
		values := append(values, `null`, `5`)
		for _, value := range values {
			checkNoSecret(t, name, value, nil, secret)
		}
	}
	for _, name := range []string{"ansible_ssh_common_args", "ansible_ssh_extra_args", "db_password", "vault_x", "ansible_x", "ansible_become_exe", "ansible_connection", "ansible_become_method", "ansible_become_user", "ansible_port"} {
		for _, value := range values[1:] {
			checkNoSecret(t, name, value, nil, secret)
		}
	}
	for _, name := range []string{"ansible_host", "ansible_user", "ansible_ssh_private_key_file"} { // their plain values are carried over
		for _, value := range values[4:] {
			if name != "ansible_ssh_private_key_file" || !strings.Contains(value, "root:") && !strings.Contains(value, "-o") {
				checkNoSecret(t, name, value, nil, secret)
			}
		}
	}
	for _, data := range []string{`{"_meta": {"hostvars": {"a": ["hunter2"]}}}`, `hunter2`, `{"all": "hunter2"}`, `{"_meta": "hunter2"}`} {
		if _, err := FromAnsible([]byte(data), nil, nil, testEnv); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", data, err)
		}
	}
	if _, err := FromAnsible([]byte(`{"all": {}}`), []string{"ansible_become_pass"}, nil, testEnv); err == nil {
		t.Error("a password may be a label")
	}
}

func checkNoSecret(t *testing.T, name, value string, labels []string, secret string) {
	t.Helper()
	data := fmt.Sprintf(`{"_meta": {"hostvars": {"a": {%q: %s}, "b": {}}}, "all": {"hosts": ["a", "b"]}}`, name, value)
	d, err := FromAnsible([]byte(data), labels, nil, testEnv)
	var text []byte
	if err == nil {
		text, err = d.Text("fleet.yaml", testEnv)
	}
	if all := fmt.Sprintf("%s %v %s", text, err, d.Notes()); strings.Contains(all, secret) {
		t.Errorf("%s: %s: %s", name, value, all)
	}
	if err != nil || len(d.Notes()) == 0 && value != "null" {
		t.Errorf("%s: %s: %v, and no note", name, value, err)
	}
}

func TestFromAnsibleRefuses(t *testing.T) {
	for data, want := range map[string]string{
		"":                      "it is not what ansible-inventory --list prints",
		"[web]\na\n":            "it is not what ansible-inventory --list prints",
		`{"web": {}}`:           "it is not what ansible-inventory --list prints",
		`{"all": {"hosts": 5}}`: "it is not what ansible-inventory --list prints",
		`{"all": {"hosts": ["a"], "vars": {"ansible_user": "x"}}}`: "the variables of a group are apart from those of its hosts",
		`{"all": {"children": ["ungrouped"]}}`:                     "there are no hosts",
	} {
		d, err := FromAnsible([]byte(data), nil, nil, testEnv)
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

// Hosts that an inventory can't have are left out, and listed.
func TestFromAnsibleLeavesOut(t *testing.T) {
	const data = `{"_meta": {"hostvars": {"x": {"site": "here", "ansible_ssh_args": "-J first", "ansible_ssh_extra_args": "-J last"}, "r": {"ansible_host": "10.0.0.[1-1]"}, "s": {"ansible_host": "a\u2028: b"}}}, "all": {"children": ["web servers", "a"]}, "a": {"hosts": ["x"]}, "site": {"hosts": ["x"]},
		"web servers": {"hosts": ["a", "b c", "d", "D", "all", "x\n: y", "x\u2028- y", "w[1-3]", "r", "s"], "children": ["web servers", "a"]}}`
	d, err := FromAnsible([]byte(data), []string{"site"}, nil, testEnv)
	whole, inv := written(t, d, err)
	if hosts(inv) != "a=a d=d x=x" {
		t.Errorf("%s", hosts(inv))
	}
	checkNotes(t, d, whole, []string{
		`b c, w[1-3], x : y, x- y: left out: its name has a character other than letters, digits, ".", "_" and "-"`,
		`all: left out: its name is reserved: as a selector it means every host`,
		`r, s: left out: its address is not a host name or IP address`,
		`x: the group site is no label: a variable is`,
		`x: a group is no label: its name has a character other than letters, digits, ".", "_" and "-"`,
		`D, a, d: in no group: the name of its group has a character other than letters, digits, ".", "_" and "-"`,
		`x: in no group: a host has the name of the group a`,
		`D: left out: host "D" has the address and port of host "d"`,
	})
	if h := inv.Hosts[2]; h.Labels["site"] != "here" || len(h.Jump) != 1 || h.Jump[0].Host != "first" {
		t.Errorf("%+v", h)
	}
}

// A group or a label that the source does not have is an error: it is misspelt.
func TestImportOfUnknown(t *testing.T) {
	const list = `{"_meta": {"hostvars": {"a": {"site": null}}}, "all": {"hosts": ["a"]}}`
	_, ansible := FromAnsible([]byte(list), []string{"site", "sit"}, nil, testEnv)
	_, group := FromAnsible([]byte(list), nil, []string{"all", "web"}, testEnv)
	_, azure := FromAzure([]byte(`[{"name": "a", "privateIps": "10.0.0.1", "tags": {"x": ""}, "storageProfile": {"osDisk": {"osType": "Linux"}}}]`), []string{"x", "sit"}, false, testEnv)
	for want, err := range map[string]error{`no host has the variable "sit"`: ansible, `the inventory has no group "web"`: group, `no host has the tag "sit"`: azure} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func FuzzFromAnsible(f *testing.F) {
	for _, s := range []string{
		`{"_meta": {"hostvars": {"a": {"ansible_host": "10.0.0.1", "ansible_port": 22, "ansible_user": "u", "ansible_ssh_common_args": "-o ProxyJump=a,b -J c -o 'ProxyCommand x' -F f \"q", "site": true}}}, "all": {"children": ["g", "ungrouped"]}, "g": {"hosts": ["a"], "children": ["h"]}, "h": {"hosts": ["a"], "children": ["g"]}}`,
		`{"_meta": {"hostvars": {"a: b": {"ansible_user": "{{ x }}", "ansible_become_pass": {"__ansible_vault": "x"}, "ansible_password": 5}}}, "all": {"hosts": ["a: b", "<<", "null"]}}`,
		`{"all": {"hosts": ["a-[1-3]", "A-1", ""]}}`, `{"all": {}}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := FromAnsible(data, []string{"site"}, []string{"g"}, testEnv)
		checkImport(t, d, err)
	})
}
