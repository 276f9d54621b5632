package host

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

const (
	edrConfig = "pipelines: [{source: {mcc_edrs: {listener: {port: 36001}}}}]\n"
	tcpTable  = "  sl  local_address rem_address   st\n   0: 00000000:%s 00000000:0000 %s 00000000:00000000\n"
)

// shellVerdict returns the verdict of the watch on the host: 0, 1 or 2, and why. The shell
// code happens runs between the mark and the check.
func (m *machine) shellVerdict(happens string) (judged, why string) {
	m.t.Helper()
	script := "begin; reset_values; unit=" + unitName + " path=" + certPath + " log=" + logPath + " config=/etc/az-aoi-ingestion/config.yaml port=36001 deny=AADSTS$NL\n" +
		"state=$ROOT/var/lib/aoifleet/$unit replaced=none base=0 began=0 run=" + firstRun + "\n" +
		"find_config; stat_path; digest_of_live; ours=$live; mark_log; log_before\n" + happens + "\n" +
		"judge; printf '%s:%s' $? \"$why\"\n"
	cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
	cmd.Stdin = strings.NewReader(m.onMachine(sent) + "why='' claimed=yes\n" + script)
	out, err := cmd.Output()
	m.must(err)
	judged, why, _ = strings.Cut(string(out), ":")
	return judged, why
}

// TestOneVerdict checks that the watch on the host and Health give the same verdict.
func TestOneVerdict(t *testing.T) {
	t.Parallel()
	const refused = `printf '%sZ  ERROR AADSTS7 refused\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%6N)" >>"$ROOT$log"`
	for name, c := range map[string]struct {
		state   string // of the unit
		port    string // listening
		happens string // after the mark
		judged  string // by the shell
		why     string // by both
		kind    Kind
	}{
		"healthy":              {"", "8CA1", "", "0", "", Healthy},
		"in a loop":            {"active=activating sub=auto-restart", "8CA1", "", "1", "the agent exits and is started again", Restarting},
		"started again":        {"restarts=1", "8CA1", "", "1", "start", Restarted},
		"main process gone":    {"sub=exited", "8CA1", "", "1", "main process has exited", Exited},
		"starting":             {"active=activating sub=start", "8CA1", "", "2", "activating", Settling},
		"stopping":             {"active=deactivating sub=stop", "8CA1", "", "2", "deactivating", Settling},
		"reloading":            {"active=reloading sub=reload", "8CA1", "", "2", "reloading", Reloading},
		"stopped":              {"active=inactive sub=dead", "8CA1", "", "1", "inactive", Stopped},
		"failed":               {"active=failed sub=failed", "8CA1", "", "1", "failed", Failing},
		"maintenance":          {"active=maintenance sub=dead", "8CA1", "", "1", "maintenance", Failing},
		"denied":               {"", "8CA1", refused, "1", "the log says: ", Denied},
		"port closed":          {"", "8CA2", "", "2", "nothing listens on port 36001", NotListening},
		"stopped, port closed": {"active=inactive sub=dead", "8CA2", "", "1", "inactive", Stopped},
		"denied, port closed":  {"", "8CA2", refused, "1", "the log says: ", Denied},
		"failed, denied":       {"active=failed sub=failed", "8CA2", refused, "1", "failed", Failing},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath)+edrConfig)
				m.write("/proc/net/tcp", fmt.Sprintf(tcpTable, c.port, "0A"))
				m.state(c.state, fmt.Sprintf("started=%d", m.uptime()-3_000_000), "exited=1", "left_active=2", "id=new")
				judged, why := m.shellVerdict(c.happens)
				if judged != c.judged || !strings.Contains(why, c.why) {
					t.Errorf("the shell says %s %q", judged, why)
				}
				o, _, err := m.look(inventory.Agent{})
				m.must(err)
				got := o.Health(SinceWatch(false, "")).First()
				if got.Kind != c.kind || !strings.Contains(got.Message, c.why) {
					t.Errorf("Health says %+v", got)
				}
			})
		})
	}
}

// TestObservePorts reports ports only for an agent with a listener.
func TestObservePorts(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		for config, c := range map[string]struct {
			port, state string
			closed      bool
		}{
			edrConfig: {"8CA1", "0A", false},
			"pipelines: [{source: {mcc_edrs: {}}}]\n":                         {"8CA1", "0A", false},
			"pipelines: [{source: {mcc_edrs: {listener: {port: 514}}}}]\n":    {"0202", "0A", false},
			"pipelines: [{source: {mcc_edrs: {listener: {port: 515}}}}]\n":    {"0202", "0A", true},
			"pipelines: [{source: {mcc_edrs: {listener: {port: 0x0202}}}}]\n": {"0202", "01", true},
			"pipelines: [{source: {sftp_pull: {}}}]\n":                        {"0202", "0A", false},
		} {
			m.write("/etc/az-aoi-ingestion/config.yaml", "secret_providers: [{key_vault: {managed_identity: {}}}]\n"+config)
			m.write("/proc/net/tcp", fmt.Sprintf(tcpTable, c.port, c.state))
			o, f, err := m.look(inventory.Agent{})
			_, listed := f.fields["listening"]
			if err != nil || o.PortClosed != c.closed || listed != strings.Contains(config, "mcc_edrs") {
				t.Errorf("%q: %v %v, listed %v: %q", config, err, o.PortClosed, listed, f.fields["listening"])
			}
		}
	})
}

// TestObserveRunsHealthCommand only if it is requested and the agent runs, as the login
// user, and for a limited time.
func TestObserveRunsHealthCommand(t *testing.T) {
	t.Parallel()
	answer := func(active string) string {
		return `while IFS= read -r line; do
    [ "$line" != AOIFLEET-VALUES ] || printf 'unit=ActiveState=` + active + `\nunit=SubState=running\nconfig_missing=x\ncertificate=/c\nkind=missing\nobserved=yes\nend=0\n'
done`
	}
	for name, c := range map[string]struct {
		active, command string
		asked           bool
		says            string
	}{
		"well":       {"active", "true", true, ""},
		"not well":   {"active", "echo stuck >&2; exit 7", true, "health.command exited 7: stuck"},
		"not asked":  {"active", "exit 7", false, ""},
		"stopped":    {"inactive", "exit 7", true, ""},
		"no command": {"active", "", true, ""},
		"no end":     {"active", "sleep 5", true, "health.command: command timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.install(t, "sh", answer(c.active))
			h := inventory.Host{Name: "vm", Sudo: inventory.SudoNone, Agent: inventory.Agent{CertificatePath: "/c"},
				Health: inventory.Health{Timeout: time.Second, Command: c.command}}
			o, err := New(s.dial(t), h, Run{ID: "r"}, nil).Observe(context.Background(), ObserveOptions{Command: c.asked})
			if err != nil || o.Command != c.says {
				t.Errorf("%+v %v", o, err)
			}
		})
	}
}
