package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// The faults of a machine. A fault is one of these words and its
// argument, separated by a space; the words of package agent are faults too. An
// argument in double quotes has the syntax of a Go string. A TEXT that triggers a
// fault may have the prefix "in:" or "out:": only data from the client, or from the
// machine, then counts. "Once" means until the faults are set again.
const (
	faultUnreachable     = "unreachable"
	faultAcceptSilent    = "accept-silent"
	faultDropConnections = "drop-connections"
	faultChangedHostKey  = "changed-host-key"
	faultAuthRefused     = "auth-refused"
	faultNoSFTP          = "no-sftp"
	faultSFTPFull        = "sftp-full"
	faultSudoPassword    = "sudo-password"
	faultSudoTells       = "sudo-tells"
	faultNoOpenSSL       = "no-openssl"
	faultMissingTool     = "missing-tool"
	faultDiskFull        = "disk-full"
	faultEndlessOutput   = "endless-output"
	faultEscapes         = "escapes"
	faultNoise           = "noise"
	faultCutAfter        = "cut-after"
	faultCutBefore       = "cut-before"
	faultCutOn           = "cut-on"
	faultGoneOn          = "gone-on"
	faultSilentOn        = "silent-on"
	faultRestartSlow     = "restart-slow"
	faultRestartFails    = "restart-fails"
	faultNotWanted       = "not-wanted"
	faultTimerFails      = "timer-fails"
	faultTimerDead       = "timer-dead"
	faultRebootOn        = "reboot-on"
	faultKillOn          = "kill-on"
	faultSSHDRestartOn   = "sshd-restart-on"
	faultSudoRevokedOn   = "sudo-revoked-on"
	faultClockJump       = "clock-jump"
	faultImmutable       = "immutable"
	faultDiags           = "diags"
	maxFaultText         = 256     // bytes
	maxFaultFile         = 8 << 20 // bytes
)

// faultKind checks the argument of a fault.
type faultKind func(argument string) error

// kindOfFault is a fault that machines may have.
type kindOfFault struct {
	word, argument, meaning string
	check                   faultKind
}

// faultKinds is the faults of a machine, besides those of its agent.
var faultKinds = []kindOfFault{
	{faultUnreachable, "", "refuses connections", needsNothing},
	{faultAcceptSilent, "", "accepts connections and sends nothing", needsNothing},
	{faultDropConnections, "N", "closes the next N connections before the handshake, as MaxStartups does", needsCount},
	{faultChangedHostKey, "", "has another host key than the one in known_hosts", needsNothing},
	{faultAuthRefused, "", "refuses every key", needsNothing},
	{faultNoSFTP, "", "has no SFTP subsystem", needsNothing},
	{faultSFTPFull, "", "has an SFTP that can create files but not write to them", needsNothing},
	{faultSudoPassword, "", "sudo requires a password", needsNothing},
	{faultSudoTells, "[fails]", "sudo requires a password, accepts any and prints it on standard error; with \"fails\" it then runs nothing", mayFail},
	{faultNoOpenSSL, "", "has no openssl", needsNothing},
	{faultMissingTool, "NAME", "lacks the program NAME", needsTool},
	{faultDiskFull, "[BLOCKS]", "no command can write more than BLOCKS × 512 bytes to a file; default 0", mayHaveCount},
	{faultEndlessOutput, "", "answers every command with endless output", needsNothing},
	{faultEscapes, "", "prints terminal escapes before a command's output, on both streams", needsNothing},
	{faultNoise, "TEXT", "prints a line before a command's output, as some profiles do", needsText},
	{faultCutAfter, "N", "closes a connection after N bytes from the client, once", needsCount},
	{faultCutBefore, "TEXT", "closes a connection instead of passing TEXT, in either direction, once", needsText},
	{faultCutOn, "TEXT", "closes a connection after TEXT, in either direction, once", needsText},
	{faultGoneOn, "TEXT", "closes a connection after TEXT, in either direction, and the machine is unreachable afterwards", needsText},
	{faultSilentOn, "TEXT", "passes nothing after TEXT, once; the connection stays", needsText},
	{faultRestartSlow, "DURATION", "systemctl restart takes this much longer", needsDuration},
	{faultRestartFails, "TEXT", "systemctl restart fails with this message", needsText},
	{faultNotWanted, "", "systemctl show reports no target that wants the agent's unit", needsNothing},
	{faultTimerFails, "TEXT", "systemd-run fails with this message", needsText},
	{faultTimerDead, "", "systemd-run succeeds, but creates no timer", needsNothing},
	{faultRebootOn, "TEXT", "the machine reboots after TEXT, once; the receiver does not see TEXT", needsText},
	{faultKillOn, "TEXT", "SIGKILL to the process group of the command after TEXT, once; the command does not see TEXT", needsText},
	{faultSSHDRestartOn, "TEXT", "the port closes and opens again after TEXT, once; connections stay", needsText},
	{faultSudoRevokedOn, "TEXT", "sudo refuses after TEXT", needsText},
	{faultClockJump, "DURATION", "date(1) is ahead by DURATION; behind if negative", needsJump},
	{faultImmutable, "", "mv, cp, ln and rm can change nothing in the certificate's folder, as after chattr +i", needsNothing},
	{faultDiags, "HOW", "the agent's diagnostics tool is missing, hangs, fails TEXT, writes garbage, none, two or link; or a zip of large BYTES", needsHow},
}

// Faults returns what a line of the faults file may say after the machine's name: the faults
// of machines, then those of agents.
func Faults() []agent.FaultHelp {
	var list []agent.FaultHelp
	for _, k := range slices.Concat(faultKinds, packageFaults) {
		list = append(list, agent.FaultHelp{Word: k.word, Argument: k.argument, Meaning: k.meaning})
	}
	return append(list, agent.Faults()...)
}

func needsNothing(argument string) error {
	if argument != "" {
		return fmt.Errorf("takes no argument")
	}
	return nil
}

func needsCount(argument string) error {
	if n, err := strconv.ParseUint(argument, 10, 31); err != nil || n == 0 {
		return fmt.Errorf("needs a count")
	}
	return nil
}

func mayHaveCount(argument string) error {
	if argument == "" {
		return nil
	}
	return needsCount(argument)
}

func mayFail(argument string) error {
	if argument != "" && argument != "fails" {
		return fmt.Errorf("takes no other argument than fails")
	}
	return nil
}

func needsTool(argument string) error {
	if !plainTool.MatchString(argument) {
		return fmt.Errorf("needs the name of a program")
	}
	return nil
}

func needsText(argument string) error {
	if argument == "" || len(argument) > maxFaultText {
		return fmt.Errorf("needs a text of at most %d bytes", maxFaultText)
	}
	return nil
}

func needsDuration(argument string) error {
	if d, err := time.ParseDuration(argument); err != nil || d <= 0 {
		return fmt.Errorf("needs a duration such as 3s")
	}
	return nil
}

func needsJump(argument string) error {
	if d, err := time.ParseDuration(argument); err != nil || d == 0 {
		return fmt.Errorf("needs a duration such as 48h or -90m")
	}
	return nil
}

// fault is one fault of a machine.
type fault struct {
	word, argument string
	line           string // as given; the agent reads its own faults
	// The direction of the text: only from the client, or only from the machine.
	// The client's script contains most of the text that it prints.
	onlyIn, onlyOut bool
}

func parseFault(line string) (fault, error) {
	line = strings.TrimSpace(line)
	word, argument, _ := strings.Cut(line, " ")
	f := fault{word: word, argument: strings.TrimSpace(argument), line: line}
	if agent.IsFault(word) {
		_, err := agent.ParseFault(line)
		return f, err
	}
	kinds := slices.Concat(faultKinds, packageFaults)
	i := slices.IndexFunc(kinds, func(k kindOfFault) bool { return k.word == word })
	if i < 0 {
		return f, fmt.Errorf("unknown fault %q; aoifleet lab --help lists them", word)
	}
	kind := kinds[i].check
	f.direction()
	if strings.HasPrefix(f.argument, `"`) {
		text, err := strconv.Unquote(f.argument)
		if err != nil {
			return f, fmt.Errorf("fault %s: the quotes do not fit", word)
		}
		f.argument = text
	}
	if err := kind(f.argument); err != nil {
		return f, fmt.Errorf("fault %s %w", word, err)
	}
	return f, nil
}

// direction removes the prefix "in:" or "out:" of the text of a fault.
func (f *fault) direction() {
	waiting := []string{
		faultCutBefore, faultCutOn, faultGoneOn, faultSilentOn,
		faultRebootOn, faultKillOn, faultSSHDRestartOn, faultSudoRevokedOn,
	}
	if slices.Contains(waiting, f.word) {
		f.argument, f.onlyIn = strings.CutPrefix(f.argument, "in:")
		if !f.onlyIn {
			f.argument, f.onlyOut = strings.CutPrefix(f.argument, "out:")
		}
	}
}
