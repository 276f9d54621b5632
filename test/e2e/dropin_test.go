//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestDropInGivesNothingElse tries to exceed the rights that the task needs.
func TestDropInGivesNothingElse(t *testing.T) {
	w := drop(t)
	for _, h := range w.fleet.Hosts {
		t.Run(h.Name, func(t *testing.T) {
			w.t = t
			w.noOtherCommand(h)
			w.noOtherFile(h)
			w.noOtherRun(h)
			w.noPathInReach(h)
			w.untouched(h)
			// The task itself still works.
			document, code := w.run("rotate", "new", nil, "--limit", h.Name)
			w.expect(document, code, 0, map[string]int{"rotated": 1})
		})
	}
}

// noOtherCommand tries commands that would create /root/canary, or print text that
// only root can read.
func (w *world) noOtherCommand(h *fleet.Host) {
	const evil = "mkdir -p /home/azureuser/evil; printf '#!/bin/sh\\ntouch /root/canary; id -u\\n' >/home/azureuser/evil/id; chmod 755 /home/azureuser/evil/id; " +
		"for x in sed stat tr sh cat grep readlink aoifleet-host; do cp /home/azureuser/evil/id /home/azureuser/evil/$x; done; "
	const noInput = " </dev/null"
	for _, attempt := range []string{
		"sudo -n sh -s" + noInput,
		"echo 'touch /root/canary; id -u' | sudo -n sh",
		"sudo -n sh -c 'touch /root/canary; id -u'",
		"sudo -n -s id -u",
		"sudo -n -i id -u",
		"sudo -n su -c id",
		"sudo -n touch /root/canary",
		"sudo -n cat /opt/root/secret",
		"sudo -n -e /etc/shadow",
		"sudoedit -n /etc/shadow",
		"sudo -n " + helperPath + " id" + noInput,
		"sudo -n " + helperPath + " -c 'touch /root/canary'" + noInput,
		"sudo -n " + helperPath + " ''" + noInput,
		"sudo -n /bin/sh " + helperPath + noInput,
		"sudo -n env " + helperPath + noInput,
		"sudo -n -g root " + helperPath + noInput,
		"sudo -n -u az-aoi-ingestion " + helperPath + noInput,
		"sudo -n -D /root " + helperPath + noInput,
		"sudo -n -R /home/azureuser " + helperPath + noInput,
		"sudo -n PATH=/home/azureuser/evil " + helperPath + noInput,
		"sudo -n BASH_ENV=/home/azureuser/evil/id ENV=/home/azureuser/evil/id " + helperPath + noInput,
		"sudo -n --preserve-env=PATH " + helperPath + noInput,
		evil + "cd evil; export BASH_ENV=$PWD/id ENV=$PWD/id PATH=$PWD:$PATH LD_PRELOAD=$PWD/id IFS=/ CDPATH=$PWD PS4='$(id)' SHELLOPTS=xtrace ROOT=$PWD helper=; /usr/bin/sudo -n " + helperPath + noInput,
		evil + "cd evil; /usr/bin/sudo -n ./aoifleet-host",
		evil + "/usr/bin/sudo -n /home/azureuser/evil/aoifleet-host",
		"ln -sf /bin/sh aoifleet-host; sudo -n ./aoifleet-host -c id",
		"sudo -n /usr/local/libexec/../libexec/aoifleet-host -c id",
		"printf 'id\\n' >>" + helperPath,
		"rm -f " + helperPath + " || mv " + helperPath + " /home/azureuser/",
		"mkdir -p /etc/aoifleet && echo path=/etc/shadow >/etc/aoifleet/helper.conf",
		"ulimit -f 0; echo end | sudo -n " + helperPath,
	} {
		out, _ := output(w.t, w.fleet, h, attempt+" 2>&1")
		if strings.Contains(out, "uid=0") || strings.Contains("\n"+out+"\n", "\n0\n") || strings.Contains(out, "secret\n") || strings.Contains(strings.ReplaceAll(out, "result=refused", ""), "result=") {
			w.t.Errorf("%s: %s:\n%s", h.Name, attempt, out)
		}
	}
}

// askHelper sends values to the helper as the login user.
func (w *world) askHelper(h *fleet.Host, values ...string) string {
	w.t.Helper()
	base := map[string]string{"run": "20261123-000000-EVIL", "owner": "me", "unit": fleet.AgentUnit, "log": fleet.LogPath}
	order := []string{"verb", "run", "owner", "unit", "log"}
	var lines []string
	for _, v := range values {
		key, text, _ := strings.Cut(v, "=")
		if _, known := base[key]; known {
			base[key] = text
			continue
		}
		lines = append(lines, v)
	}
	var all []string
	for _, key := range order[1:] {
		all = append(all, key+"="+base[key])
	}
	all = append(append(all, lines...), "end")
	text := strings.Join(all, "\n") + "\n"
	out, _ := output(w.t, w.fleet, h, fmt.Sprintf("sudo -n %s 2>&1 <<'TTT'\n%07d\n%sTTT", helperPath, len(text), text))
	return out
}

// noOtherFile checks that each request is refused, or answered without text that
// only root may read, and that nothing is written.
func (w *world) noOtherFile(h *fleet.Host) {
	canary := "$(touch /root/canary)`touch /root/canary`;touch /root/canary;'\""
	digest := strings.Fields(w.shell(h, "sha256sum /etc/shadow"))[0]
	rotate := []string{"verb=rotate", "real=/etc/shadow", "old=" + digest, "new=" + digest, "swap=yes", "start=no", "deadman=no"}
	for name, question := range map[string]struct {
		values   []string
		expected string
	}{
		"another path to look at":     {[]string{"verb=observe", "path=/etc/shadow"}, "names /etc/shadow as a certificate"},
		"another path to examine":     {[]string{"verb=examine", "path=/etc/shadow"}, "names /etc/shadow as a certificate"},
		"another path to write":       {append(rotate, "path=/etc/shadow"), "names /etc/shadow as a certificate"},
		"no path to write":            {append(rotate, "path="), "no path"},
		"a path around":               {append(rotate, "path=/etc/az-aoi-ingestion/certs/../../shadow"), "as a certificate"},
		"a pattern for a path":        {append(rotate, "path=*"), "as a certificate"},
		"another log":                 {[]string{"verb=observe", "log=/etc/shadow", "deny=."}, "agent.log is /etc/shadow"},
		"another configuration":       {[]string{"verb=observe", "config=/opt/root/secret"}, "agent.config is /opt/root/secret"},
		"another unit":                {[]string{"verb=prune", "unit=ssh.service"}, "agent.unit is ssh.service"},
		"a unit with a path":          {[]string{"verb=prune", "unit=../../../root"}, "not a unit name"},
		"a unit with a command":       {[]string{"verb=prune", "unit=a;id"}, "not a unit name"},
		"a run with a path":           {[]string{"verb=discard", "run=../../../etc/shadow"}, "not a run id"},
		"no run":                      {[]string{"verb=discard", "run="}, "not a run id"},
		"a run of 100 letters":        {[]string{"verb=discard", "run=" + strings.Repeat("a", 100)}, "not a run id"},
		"a saved run with a path":     {append(rotate, "path="+fleet.CertificatePath, "saved=../../.."), "not a run id"},
		"a command in a number":       {[]string{"verb=stage", "size=a[$(touch /root/canary)]"}, "not a number"},
		"a number too long":           {[]string{"verb=stage", "size=99999999999999999999"}, "not a valid number"},
		"an octal number":             {[]string{"verb=stage", "size=010"}, "not a valid number"},
		"too much":                    {[]string{"verb=stage", "size=9999999"}, "a number is too large"},
		"a hold of a year":            {append(rotate, "hold=9999999"), "a number is too large"},
		"neither yes nor no":          {append(rotate, "start=maybe"), "neither yes nor no"},
		"a digest that is none":       {[]string{"verb=stage", "new=$(id)"}, "not a digest"},
		"control characters":          {[]string{"verb=recover", "owner=a\x1b[2J"}, "control character"},
		"another source":              {[]string{"verb=stage", "source=/opt/root", "size=7"}, "not a staging folder"},
		"a source around":             {[]string{"verb=stage", "source=.aoifleet-/../../../opt/root", "size=7"}, "not a staging folder"},
		"a source in /tmp around":     {[]string{"verb=stage", "source=/tmp/../opt/root", "size=7"}, "not a staging folder"},
		"a back-reference":            {[]string{"verb=observe", `deny=(.*)\1\1\1`}, "back-reference"},
		"an unknown key":              {[]string{"verb=observe", "ROOT=/home/azureuser"}, "incomplete"},
		"an unknown verb":             {[]string{"verb=sh"}, "unknown verb"},
		"a function of the script":    {[]string{"verb=put_file"}, "unknown verb"},
		"the installation":            {[]string{"verb=install", "new=00"}, "does not install itself"},
		"commands as values":          {[]string{"verb=observe", "owner=" + canary, "thumbprint=" + canary, "deny=" + canary, "expect=" + canary}, "observed=yes"},
		"options as patterns":         {[]string{"verb=observe", "deny=--file=/opt/root/secret", "deny=-f/opt/root/secret"}, "observed=yes"},
		"patterns that match it all":  {[]string{"verb=observe", "deny="}, "observed=yes"},
		"a staging folder not there":  {[]string{"verb=stage", "source=.aoifleet-none", "size=7", "new=" + digest}, "arrived incomplete"},
		"the state of the invocation": {[]string{"verb=recover", "boot=x", "was=x", "sick=yes", "invocation=$(id)"}, "result=clean"},
	} {
		out := w.askHelper(h, question.values...)
		if !strings.Contains(out, question.expected) || strings.Contains(out, "root:") || strings.Contains(out, "secret\n") ||
			strings.Contains(out, digest) || strings.Contains(out, "uid=0") {
			w.t.Errorf("%s: %s:\n%s", h.Name, name, out)
		}
	}
	w.stagingTraps(h)
	// An endless line, and an end in the middle of a value.
	for input, expected := range map[string]string{
		"tr '\\000' a </dev/zero":                                   "not a length",
		"cat /dev/zero":                                             "not a length",
		"echo 9999999; tr '\\000' a </dev/zero":                     "the values are too long",
		"echo 0262144; tr '\\000' a </dev/zero":                     "incomplete",
		"echo 0000022; printf 'verb=observe\\nrun=x'":               "incomplete",
		"echo 0000021; printf 'verb=observe\\nrun=x\\nen'":          "incomplete",
		"echo 0000026; printf 'verb=observe\\000\\nrun=x\\nend\\n'": "not a unit name",
	} {
		out, _ := output(w.t, w.fleet, h, "("+input+") 2>/dev/null | timeout 20 sudo -n "+helperPath+" 2>&1")
		if !strings.Contains(out, expected) {
			w.t.Errorf("%s: %s:\n%s", h.Name, input, out)
		}
	}
}

// stagingTraps checks that a staged file is read with the caller's rights.
func (w *world) stagingTraps(h *fleet.Host) {
	digest := strings.Fields(w.shell(h, "sha256sum /opt/root/secret"))[0]
	for name, lay := range map[string]string{
		"a symlink":            "mkdir .aoifleet-x && ln -s /opt/root/secret .aoifleet-x/certificate",
		"a folder's symlink":   "ln -s /opt/root .aoifleet-x && ln -s secret certificate",
		"a FIFO":               "mkdir .aoifleet-x && mkfifo .aoifleet-x/certificate",
		"more than its size":   "mkdir .aoifleet-x && head -c 10000000 /dev/zero >.aoifleet-x/certificate",
		"a file that it loses": "mkdir .aoifleet-x && ln -s /dev/full .aoifleet-x/certificate",
	} {
		if out, err := output(w.t, w.fleet, h, "rm -rf .aoifleet-x; "+lay); err != nil {
			w.t.Fatalf("%s: %s, %v", name, out, err)
		}
		out := w.askHelper(h, "verb=stage", "source=.aoifleet-x", "size=7", "new="+digest)
		if !strings.Contains(out, "arrived incomplete") || strings.Contains(out, "secret\n") {
			w.t.Errorf("%s: %s:\n%s", h.Name, name, out)
		}
	}
	if text := w.shell(h, "cat /opt/root/secret; ls "+stateDir); text != "secret\nbackups" {
		w.t.Errorf("%s: %s", h.Name, text)
	}
}

// noOtherRun checks that a user with the drop-in can neither confirm nor undo a run in progress.
func (w *world) noOtherRun(h *fleet.Host) {
	kill := w.interrupted(h, "60s")
	defer kill()
	run := strings.TrimPrefix(w.shell(h, "head -n 1 "+stateDir+"/pending"), "run=")
	digest := strings.Fields(w.shell(h, "sha256sum "+fleet.CertificatePath))[0]
	rotate := []string{"verb=rotate", "path=" + fleet.CertificatePath, "real=" + fleet.CertificatePath, "old=" + digest, "new=" + digest, "swap=no", "deadman=no"}
	for _, question := range [][]string{
		append(rotate, "run="+run), rotate, {"verb=recover", "run=" + run}, {"verb=recover"},
	} {
		if out := w.askHelper(h, question...); !strings.Contains(out, "error=locked") {
			w.t.Errorf("%s: %v:\n%s", h.Name, question, out)
		}
	}
	if out := w.askHelper(h, "verb=prune", "keep=0"); !strings.Contains(out, "removed=0") {
		w.t.Errorf("%s: %s", h.Name, out)
	}
	if _, err := os.Stat(filepath.Join(h.Root, stateDir, "pending")); err != nil {
		w.t.Errorf("%s: %v", h.Name, err)
	}
	kill()
	w.until("the host does not undo", func() bool {
		_, err := os.Stat(filepath.Join(h.Root, stateDir, "rolled-back"))
		return err == nil
	})
	w.until("the switch is still there", func() bool {
		return w.shell(h, "ls -d "+stateDir+"/backups/*/host.sh 2>/dev/null; systemctl list-units --no-legend 'aoifleet-*'") == ""
	})
	w.live(h, "old")
}

// noPathInReach checks that the helper refuses a path that the login user can
// redirect.
func (w *world) noPathInReach(h *fleet.Host) {
	config := w.shell(h, "cat "+fleet.AgentConfig)
	defer func() { w.write(h, fleet.AgentConfig, config+"\n") }()
	moved := strings.Replace(config, fleet.CertificatePath, "/home/azureuser/dp.p12", 1)
	w.write(h, fleet.AgentConfig, moved+"\n")
	w.shell(h, "ln -s /etc/shadow /home/azureuser/dp.p12")
	document, code := w.run("plan", "new", nil, "--limit", h.Name)
	if e := document.Hosts[0].Error; code != 5 || e == nil || !strings.Contains(e.Message, "azureuser can write the folder /home/azureuser") {
		w.t.Errorf("%s: %d, %+v", h.Name, code, e)
	}
	w.write(h, fleet.AgentConfig, config+"\n")
	w.shell(h, "rm /home/azureuser/dp.p12; chown azureuser "+fleet.AgentConfig)
	document, code = w.run("plan", "new", nil, "--limit", h.Name)
	if e := document.Hosts[0].Error; code != 5 || e == nil || !strings.Contains(e.Message, "non-root users can write "+fleet.AgentConfig) {
		w.t.Errorf("%s: %d, %+v", h.Name, code, e)
	}
	w.shell(h, "chown root "+fleet.AgentConfig+"; mkdir -m 755 /etc/aoifleet; echo path="+fleet.CertificatePath+" >/etc/aoifleet/helper.conf; chown azureuser /etc/aoifleet/helper.conf")
	document, code = w.run("plan", "new", nil, "--limit", h.Name)
	if e := document.Hosts[0].Error; code != 5 || e == nil || !strings.Contains(e.Message, "non-root users can write /etc/aoifleet/helper.conf") {
		w.t.Errorf("%s: %d, %+v", h.Name, code, e)
	}
	w.shell(h, "chown root /etc/aoifleet/helper.conf")
}

// untouched checks that no file of root has changed.
func (w *world) untouched(h *fleet.Host) {
	out := w.shell(h, "ls /root/canary 2>/dev/null; cmp /etc/shadow /var/lib/shadow.before; stat -c '%u %a' "+helperPath+
		"; find / -xdev -newer /var/lib/shadow.before -user root -type f -perm /6000 2>/dev/null; ls /var/lib/aoifleet; id -nG azureuser")
	if want := fmt.Sprintf("0 755\n%s\nazureuser", fleet.AgentUnit); out != want {
		w.t.Errorf("%s:\n%s\nwant:\n%s", h.Name, out, want)
	}
	w.live(h, "old")
}
