package newinventory

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// vars are the variables of a host.
type vars map[string]json.RawMessage

const (
	forms          = "; or {file: …}, {env: …}, {command: …}"
	ofSudo         = "sudo: " + AskSudo + " asks for it" + forms
	ofLogin        = "password_from: ask asks for it" + forms
	passphraseOf   = "it is asked for; or passphrase_from {file: …}, {env: …}, {command: …}"
	keyInInventory = "write the key to a file (chmod 600) and name it with identity_file"
)

// secrets are the variables with a secret, and what is done instead of copying it.
var secrets = map[string]string{
	"ansible_become_password": ofSudo, "ansible_become_pass": ofSudo, "ansible_sudo_pass": ofSudo, "ansible_sudo_password": ofSudo, "ansible_become_sudo_pass": ofSudo,
	"ansible_password": ofLogin, "ansible_ssh_pass": ofLogin, "ansible_ssh_password": ofLogin,
	"ansible_private_key_passphrase": passphraseOf, "ansible_ssh_private_key_passphrase": passphraseOf,
	"ansible_private_key": keyInInventory, "ansible_ssh_private_key": keyInInventory,
}

// translator translates variables of Ansible to settings. Its notes quote no value.
type translator struct {
	draft   *Draft
	env     inventory.Env
	labels  []string
	checked map[string]string // what is wrong with "key: value"
	own     map[string]bool   // variables that are not Ansible's
	found   map[string]bool   // those of labels that a host has
}

// checkLabels returns an error for a label that no host has: it is probably misspelt.
func (t *translator) checkLabels(what string) error {
	for _, name := range t.labels {
		if !t.found[name] {
			return problem.New(problem.Usage, "correct or leave out --label", "no host has the %s %s", what, display.Quote(name, 100))
		}
	}
	return nil
}

// translate stores the settings of a host. It returns false for a host that is not reached by SSH.
func (t *translator) translate(h *host, of vars) bool {
	read := map[string]bool{"ansible_python_interpreter": true}
	get := func(names ...string) string {
		value := ""
		for _, name := range names { // the last one wins (ansible's connection plugin ssh)
			read[name] = true
			if text, ok := t.text(h, of, name); ok {
				value = text
			}
		}
		return value
	}
	if c := get("ansible_connection"); c != "" && !slices.Contains([]string{"ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh"}, c) {
		t.draft.notes.add(h.name, "left out: its ansible_connection is not ssh")
		return false
	}
	if address := get("ansible_host", "ansible_ssh_host"); address != "" {
		h.address = address
	}
	t.set(h, "user", "ansible_user", get("ansible_user", "ansible_ssh_user"))
	if port := get("ansible_port", "ansible_ssh_port"); port != "" {
		if n, err := strconv.Atoi(port); err == nil {
			t.set(h, "port", "ansible_port", n)
		} else {
			t.draft.notes.add(h.name, "ansible_port is not a number")
		}
	}
	t.set(h, "identity_file", "ansible_ssh_private_key_file", get("ansible_private_key_file", "ansible_ssh_private_key_file"))
	for _, name := range []string{"ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"} {
		t.sshArgs(h, name, get(name))
	}
	t.secrets(h, of, read)
	t.become(h, get)
	t.others(h, of, read)
	return true
}

// inventoryName matches the template that most inventories have.
var inventoryName = regexp.MustCompile(`\{\{ *inventory_hostname *\}\}`)

// text returns a variable as text; ok is false if there is none, or no single value, or a template
// that only Ansible can fill in, which is noted.
func (t *translator) text(h *host, of vars, name string) (text string, ok bool) {
	raw, given := of[name]
	if !given || string(raw) == "null" {
		return "", false
	}
	var value any
	var unsafe struct {
		Text *string `json:"__ansible_unsafe"`
	}
	_ = json.Unmarshal(raw, &value)
	if json.Unmarshal(raw, &unsafe) == nil && unsafe.Text != nil {
		value = *unsafe.Text
	}
	switch v := value.(type) {
	case string:
		text = inventoryName.ReplaceAllLiteralString(v, h.name)
	case bool, float64:
		text = string(raw)
	default:
		t.draft.notes.add(h.name, "%s is encrypted or no single value", name)
		return "", false
	}
	if strings.Contains(text, "{{") || strings.Contains(text, "{%") {
		t.draft.notes.add(h.name, "%s is a template, which only Ansible can fill in", name)
		return "", false
	}
	return text, text != ""
}

// set stores a setting if it is given and valid, else notes what is wrong with the variable.
func (t *translator) set(h *host, key, name string, value any) {
	if value == "" {
		return
	}
	h.Set(key, value)
	line := key + ": " + h.Settings[key]
	wrong, known := t.checked[line]
	if !known {
		wrong = h.Check(key, t.env)
		t.checked[line] = wrong
	}
	if wrong != "" {
		t.draft.notes.add(h.name, "%s: %s", name, wrong)
		delete(h.Settings, key)
	}
}

// secrets notes the secrets of a host, and stores that the login's password is asked for.
func (t *translator) secrets(h *host, of vars, read map[string]bool) {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if _, given := of[name]; !given {
			continue
		}
		read[name] = true
		t.draft.notes.add(h.name, "%s is not copied: %s", name, secrets[name])
		switch secrets[name] {
		case ofSudo:
			h.Settings["sudo"] = AskSudo
		case ofLogin:
			h.Set("password_from", "ask")
		}
	}
}

// become stores how the login becomes root.
func (t *translator) become(h *host, get func(...string) string) {
	get("ansible_become")
	if method := get("ansible_become_method"); method != "" && method != "sudo" && method != "ansible.builtin.sudo" {
		t.draft.notes.add(h.name, "ansible_become_method: only sudo is used here")
	}
	if user := get("ansible_become_user"); user != "" && user != "root" {
		t.draft.notes.add(h.name, "ansible_become_user: sudo leads to root here")
	}
	if h.Settings["user"] == "root" {
		h.Set("sudo", "none")
	}
}

// identifier matches the name of a variable in Ansible.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// others keeps the variables that are to be labels, and notes the rest.
func (t *translator) others(h *host, of vars, read map[string]bool) {
	for _, name := range t.labels {
		if t.found[name] = t.found[name] || of[name] != nil; of[name] == nil {
			continue
		}
		if text, ok := t.text(h, of, name); ok {
			t.set(h, "labels."+name, name, text)
		}
		read[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		switch {
		case read[name]:
		case !identifier.MatchString(name):
			t.draft.notes.add(h.name, "a variable whose name Ansible can't use")
		case strings.HasPrefix(name, "ansible_"):
			t.draft.notes.add(h.name, "%s has no counterpart here", name)
		case len(t.own) < maxNotes:
			t.own[name] = true
		}
	}
}

// shellWord matches a word of a command line, with its quotes.
var shellWord = regexp.MustCompile(`(?:[^\s"']|"[^"]*"|'[^']*')+`)

// sshArgs takes the jump hosts out of arguments for ssh, and notes all other arguments by their
// name: a value may be a secret.
func (t *translator) sshArgs(h *host, name, args string) {
	if strings.Contains(args, `\`) {
		t.draft.notes.add(h.name, "%s has a backslash: set what it means in ~/.ssh/config", name)
		return
	}
	words := shellWord.FindAllString(args, -1)
	for i := range words {
		words[i] = strings.NewReplacer(`"`, "", "'", "").Replace(words[i])
	}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		flag, value := word[:min(2, len(word))], word[min(2, len(word)):]
		if value == "" && len(words) > 0 && len(flag) == 2 && strings.Contains("BbcDEeFIiJLlmOopQRSWw", flag[1:]) {
			value, words = words[0], words[1:]
		}
		option := ""
		if flag == "-o" {
			if i := strings.IndexAny(value, "= \t"); i > 0 {
				option, value = value[:i], strings.Trim(value[i:], "= \t")
			}
		}
		t.sshArg(h, name, flag, strings.ToLower(option), value)
	}
}

// sshOptions are options that a note names; what another text is, is unknown.
var sshOptions = strings.Fields("forwardagent serveraliveinterval serveralivecountmax connecttimeout identityfile identitiesonly port user hostname ciphers " +
	"kexalgorithms macs hostkeyalgorithms pubkeyacceptedalgorithms pubkeyacceptedkeytypes preferredauthentications compression certificatefile")

func (t *translator) sshArg(h *host, name, flag, option, value string) {
	const elsewhere = ": set it in ~/.ssh/config, which applies here too"
	switch {
	case (flag == "-J" || option == "proxyjump") && h.Settings["jump"] != "": // ssh uses the first
	case flag == "-J" || option == "proxyjump":
		t.set(h, "jump", name, OneOrMore(value))
	case option == "proxycommand":
		t.draft.notes.add(h.name, "%s has a ProxyCommand%s; jump: is enough for a jump host", name, elsewhere)
	case option == "stricthostkeychecking" || option == "userknownhostsfile":
		t.draft.notes.add(h.name, "%s changes the check of host keys: here each key must be known (aoifleet hostkeys scan --add)", name)
	case strings.HasPrefix(option, "control"): // one connection for several calls of ssh
	case slices.Contains(sshOptions, option):
		t.draft.notes.add(h.name, "%s has -o %s%s", name, option, elsewhere)
	case flag != "-C" && flag != "-q":
		t.draft.notes.add(h.name, "%s has another option of ssh%s", name, elsewhere)
	}
}
