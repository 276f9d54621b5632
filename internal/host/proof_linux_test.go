package host

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// sampleLog has the lines of the sample in the vendor's documentation of the agent's log, with
// other values: a run of an SFTP source that uploads nothing.
//
//go:embed testdata/sftp-pull.log
var sampleLog string

// runSaid returns the sample as a process writes it that many seconds after now, about a run of a
// pipeline.
func runSaid(seconds int, pipeline, uploads, retryable, lasting string) string {
	return strings.NewReplacer(
		"2026-11-30T06:15:00", time.Now().Add(time.Duration(seconds)*time.Second).UTC().Format("2006-01-02T15:04:05"), "cdr-london", pipeline,
		"successful_uploads: 0", "successful_uploads: "+uploads, " retryable_errors: 0", " retryable_errors: "+retryable,
		"non_retryable_errors: 0", "non_retryable_errors: "+lasting).Replace(sampleLog)
}

// later is a day, so that the lines are of the new process also if a busy machine is slow to begin a
// test; a process that "starts late" starts after two.
const later = 24 * 60 * 60

// logs returns code of a hook that appends text to the log.
func logs(text string) string { return "cat >>\"$log\" <<'TEXT'\n" + text + "TEXT\n" }

// TestUploadIsProof: only a complete line of the new process about a pipeline with the
// certificate proves an upload. Failed uploads are reported, and fail no host.
func TestUploadIsProof(t *testing.T) {
	t.Parallel()
	const startsLate = "[ $starts = 1 ] || return 0\nread -r up _ </proc/uptime; started=$(( ${up%.*}${up#*.}0000 + 172800000000 ))\n"
	uploaded := runSaid(later, "cdr", "12", "0", "0")
	quoted := strings.Split(uploaded, "\n")[1]
	for name, c := range map[string]struct {
		hook, values, proof, note string
	}{
		"uploaded":                       {logs(uploaded), "", "uploaded", ""},
		"nothing uploaded":               {logs(runSaid(later, "cdr", "0", "0", "0")), "", "log_clean", ""},
		"a huge number":                  {logs(runSaid(later, "cdr", "99999999999999999999", "0", "0")), "", "uploaded", ""},
		"in colour":                      {logs(strings.ReplaceAll(uploaded, "RunStats", "\033[2mRunStats\033[0m")), "", "uploaded", ""},
		"expected too":                   {"log INFO x\n" + logs(uploaded), "expect=INFO", "uploaded", ""},
		"expected only":                  {"log INFO x\n", "expect=INFO", "expected_line", ""},
		"another certificate's pipeline": {logs(runSaid(later, "other", "12", "0", "0")), "", "log_clean", ""},
		"part of a name":                 {logs(runSaid(later, "dr", "12", "0", "0")), "", "log_clean", ""},
		"torn":                           {logs(uploaded[:strings.Index(uploaded, ", blob")] + "\n"), "", "log_clean", ""},
		"the name of a file":             {logs(quoted[:28] + " INFO az_ingestion: can't read " + quoted + "\n"), "", "log_clean", ""},
		"a name at the end":              {logs(strings.Replace(quoted, "Run lasted", "can't read Run lasted", 1) + "\n"), "", "log_clean", ""},
		"uploads and failures":           {logs(runSaid(later, "cdr", "12", "3", "0")), "", "uploaded", "retryable_errors 3, non_retryable_errors 0"},
		"failures only":                  {logs(runSaid(later, "cdr", "0", "0", "4")), "", "log_clean", "retryable_errors 0, non_retryable_errors 4"},
		"one uploads, another fails":     {logs(uploaded + runSaid(later, "other", "0", "1", "2") + runSaid(later, "cdr", "0", "1", "0")), "", "uploaded", "retryable_errors 2, non_retryable_errors 2"},
		"the old process":                {startsLate + logs(uploaded), "", "process_only", ""},
		"the old process had kept it":    {logs(runSaid(-3600, "cdr", "12", "0", "0")), "", "log_clean", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				if m.shell[0] == "busybox" { // its awk too
					m.faults = t.TempDir()
					program, err := exec.LookPath("busybox")
					m.must(err)
					m.must(os.Symlink(program, m.faults+"/awk"))
				}
				m.hook("on-restart", c.hook)
				values := []string{"window=0", "pipeline=ab-cdr", "pipeline=cdr"}
				if c.values != "" {
					values = append(values, c.values)
				}
				r := m.rotate(firstRun, newBytes, values...)
				m.wants(r, Rotated)
				if r.get("proof") != c.proof || !strings.Contains(r.get("note"), c.note) || c.note == "" && r.get("note") != "" {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestRequiredProof is a condition of health, for which the watch waits proof_timeout.
func TestRequiredProof(t *testing.T) {
	t.Parallel()
	said := logs(runSaid(later, "cdr", "1", "0", "0"))
	// once runs code at the nth question to systemd after the restart with the new file.
	once := func(nth, code string) string {
		return "[ \"$shows\" -lt " + nth + " ] || [ \"$loaded\" != MIInew ] || [ -f \"$MACHINE/said\" ] || { : >\"$MACHINE/said\"\n" + code + "}\n"
	}
	for name, c := range map[string]struct {
		restart, show, values string
		ending                Ending
		reason                string
	}{
		"uploaded at once":         {said, "", "proof_timeout=0 require=uploaded pipeline=cdr", Rotated, ""},
		"uploaded in time":         {"", once("5", said), "proof_timeout=60 require=uploaded pipeline=cdr", Rotated, "uploaded"},
		"uploaded, not asked for":  {"", once("5", said), "proof_timeout=60 pipeline=cdr", Rotated, "uploaded"},
		"not uploaded":             {"log INFO x\n", "", "require=uploaded pipeline=cdr", RolledBack, "unhealthy no proof of an upload: the new process has not logged successful_uploads above 0"},
		"not in time":              {"log INFO x\n", "", "proof_timeout=1 require=uploaded pipeline=cdr", RolledBack, "successful_uploads above 0, 1s after the window"},
		"not in time, not asked":   {"log INFO x\n", "", "proof_timeout=1 pipeline=cdr", Rotated, "log_clean"},
		"no pipeline, no wait":     {"log INFO x\n", "", "proof_timeout=1000", Rotated, "log_clean"},
		"refused meanwhile":        {"", once("5", "log ERROR AADSTS7\n"), "proof_timeout=60 require=uploaded pipeline=cdr", RolledBack, "AADSTS7"},
		"clean":                    {"log INFO x\n", "", "require=log_clean", Rotated, "log_clean"},
		"clean in time":            {"", once("5", "log INFO x\n"), "proof_timeout=60 require=log_clean pipeline=cdr", Rotated, "log_clean"},
		"not clean":                {"", "", "require=log_clean", RolledBack, "no proof: the log has no line of the new process"},
		"an upload is clean too":   {said, "", "require=log_clean pipeline=cdr", Rotated, "uploaded"},
		"expected is clean too":    {"log INFO x\n", "", "require=log_clean expect=INFO", Rotated, "expected_line"},
		"expected is no upload":    {"log INFO x\n", "", "require=uploaded expect=INFO", RolledBack, "no proof of an upload"},
		"a requirement of no kind": {"", "", "require=process", Refused, "internal not a proof"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", c.restart)
				m.hook("on-show", c.show)
				r := m.rotate(firstRun, newBytes, append(strings.Fields(c.values), "window=0", "timeout=10")...)
				m.wants(r, c.ending)
				if !strings.Contains(r.get("proof")+r.get("error"), c.reason) {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestLatest: the version is of the agent's package, and the last upload is that of the last
// run with one; what is unknown is left out.
func TestLatest(t *testing.T) {
	t.Parallel()
	const rpm = "[ \"$1 $2 $4\" = '-q --qf az-aoi-ingestion' ] && echo '2.1.0-1.el9'\n"
	run := strings.ReplaceAll(sampleLog, "uploads: 0", "uploads: 7")
	for name, c := range map[string]struct {
		tool, code string // a package manager
		log        string
		want       string
	}{
		"dpkg":          {"dpkg-query", `exec /usr/bin/dpkg-query --admindir="$MACHINE/dpkg" "$@"` + "\n", run, "2.0.1-1 2026-11-30 06:15:00.087351 7"},
		"rpm":           {"rpm", rpm, run + strings.ReplaceAll(sampleLog, "06:15", "06:20"), "2.1.0-1.el9 2026-11-30 06:15:00.087351 7"},
		"a user's home": {"rpm", "[ \"$HOME\" = /dev/null ] && printf 2.1.0-1.el9\n", run, "2.1.0-1.el9 2026-11-30 06:15:00.087351 7"},
		"not a package": {"rpm", "echo 'package az-aoi-ingestion is not installed'; exit 1\n", run + strings.ReplaceAll(run, "06:15", "06:20"), " 2026-11-30 06:20:00.087351 7"},
		"another name":  {"rpm", strings.ReplaceAll(rpm, "az-aoi-ingestion", "vendors-agent"), run, "2.1.0-1.el9 2026-11-30 06:15:00.087351 7"},
		"in colour":     {"rpm", rpm, strings.ReplaceAll(run, "Run", "\033[1mRun"), "2.1.0-1.el9 2026-11-30 06:15:00.087351 7"},
		"nothing":       {"other", "", sampleLog, " 0001-01-01 00:00:00 0"},
		"far too old":   {"other", "", run + strings.Repeat("2026-11-30T06:15:00.087351Z  INFO a line\n", 10000), " 0001-01-01 00:00:00 0"},
		"no such time":  {"other", "", strings.ReplaceAll(run, "2026-11-30T", "2026-99-30T"), " 0001-01-01 00:00:00 0"},
		"hostile":       {"rpm", "printf '2.0\\033[2J\\nlatest=\\n'\n", run, "2.0 2026-11-30 06:15:00.087351 7"},
		"timed out":     {"rpm", "exit 124\n", run, " 2026-11-30 06:15:00.087351 7"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				dir := t.TempDir()
				m.must(os.WriteFile(dir+"/"+c.tool, []byte("#!/bin/sh\n"+c.code), 0o755))
				if c.tool == "rpm" && name != "not a package" { // a host may have both
					m.must(os.WriteFile(dir+"/dpkg-query", []byte("#!/bin/sh\nexit 1\n"), 0o755))
				}
				m.only = dir + ":" + tools + "/bin:" + tools + "/few"
				m.mkdir("/dpkg/info", 0o755)
				m.write("/dpkg/status", "Package: az-aoi-ingestion\nStatus: install ok installed\nVersion: 2.0.1-1\nArchitecture: all\nMaintainer: a <a@example.net>\nDescription: agent\n\n")
				m.write(logPath, c.log)
				values := m.common(firstRun)
				if name == "another name" {
					values = append(values, value{"package", "vendors-agent"})
				}
				l := parseLatest(parseFound([]byte(strings.Join(m.run("latest", values, noAnswer).lines, "\n"))))
				if got := fmt.Sprintf("%s %s %d", l.Version, strings.TrimSuffix(l.Upload.String(), " +0000 UTC"), l.Uploads); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
	if parseLatest(parseFound([]byte("error=internal unknown verb\nresult=refused\n"))) != nil {
		t.Error("a helper of an earlier version")
	}
}
