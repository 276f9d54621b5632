//go:build e2e && linux

package e2e

func one(outcome ...string) []string { return outcome }

// faultCases is the matrix. Where two sides race, each fair outcome is listed.
func faultCases() []faultCase {
	var all []faultCase
	for _, part := range [][]faultCase{slowCases(), programCases(), linkCases(), powerCases(), hostCases(), diskCases(), agentCases(), rollbackCases()} {
		all = append(all, part...)
	}
	return all
}

// slowCases wait for a switch, for a keepalive or for the program's patience.
func slowCases() []faultCase {
	return []faultCase{
		{step: "watch", fault: "link silent for good", at: atWatch, strike: deadLink, after: endLink, reported: one("rolled_back"), found: "old", settled: "the host"},
		{step: "watch", fault: "host off until the program gives up", at: atWatch, strike: staysOff, reported: one("unknown"), found: "old", check: hasSettlesAt},
		{step: "watch", fault: "connection cut and sudo revoked", at: atWatch, strike: revokeSudoForGood, reported: one("unknown"), found: "old", settled: "the host", check: hasSettlesAt},
		{step: "undo", fault: "program and host.sh killed, then the timer's undo", at: atWatch, strike: killUndo, reported: one("none"), found: "old"},
		{step: "watch", fault: "program and host.sh killed", at: atWatch, strike: killBoth, reported: one("none"), found: "old"},
		{step: "swap", fault: "program and host.sh killed", at: swapped, strike: killBoth, reported: one("none"), found: "old"},
		{step: "confirm", fault: "the word arrives when the host has undone", at: atConfirm, strike: lateWord, reported: one("rolled_back"), found: "old", settled: "the host"},
		{step: "confirm", fault: "deadline passed", at: atConfirm, strike: pastDeadline, reported: one("rolled_back"), found: "old", settled: "the host"},
		{step: "watch", fault: "link silent, another run undone before it is back", at: atWatch, strike: runUndone, reported: one("rolled_back", "unknown"), found: "old", settled: "the host", overwritten: true},
		{step: "confirm", fault: "the word arrives in the watch of another run", at: atConfirm, strike: anotherRun, reported: one("rolled_back", "unknown"), found: "old", settled: "the host", overwritten: true},
	}
}

func programCases() []faultCase {
	killed := func(step string, at point, found string) faultCase {
		return faultCase{step: step, fault: "program killed", at: at, strike: killProgram, reported: one("none"), found: found}
	}
	undo := killed("undo", claimed, "old")
	undo.before = refuseNew
	undo.after = acceptBoth
	return []faultCase{
		killed("check", atCheck, "old"),
		killed("backup", atBackup, "old"),
		killed("arm", atArm, "old"),
		killed("swap", swapped, "old"),
		killed("restart", atRestart, "old"),
		killed("watch", atWatch, "old"),
		killed("confirm, before the word", atConfirm, "old"),
		killed("confirm, after the word", atVerdict, "new"),
		undo,
	}
}

func linkCases() []faultCase {
	return []faultCase{
		{step: "arm", fault: "connection cut", at: atArm, strike: cutLink, reported: one("rolled_back"), found: "old"},
		{step: "restart", fault: "sshd's session killed", at: restarted, strike: killSession, reported: one("rolled_back"), found: "old"},
		{step: "confirm, after the word", fault: "connection cut", at: confirmed, strike: cutLink, reported: one("rotated"), found: "new"},
		{step: "undo", fault: "connection cut", at: atRestore, before: refuseNew, strike: cutLink, after: acceptBoth, reported: one("rolled_back"), found: "old"},
		{step: "watch", fault: "sshd restarted", at: atWatch, strike: restartSSH, goesOn: true, reported: one("rotated"), found: "new"},
		{step: "watch", fault: "systemd reloaded and executed anew", at: atWatch, strike: reloadManager, goesOn: true, reported: one("rotated"), found: "new"},
		{step: "watch", fault: "sudo revoked", at: atWatch, strike: revokeSudo, goesOn: true, after: grantSudo, reported: one("rotated"), found: "new"},
	}
}

func powerCases() []faultCase {
	return []faultCase{
		{step: "backup", fault: "power cut", at: atBackup, strike: cutPower, reported: one("rolled_back", "refused"), found: "old"},
		{step: "arm", fault: "power cut", at: atArm, strike: cutPower, reported: one("rolled_back"), found: "old"},
		{step: "swap", fault: "power cut", at: swapped, strike: cutPower, reported: one("rolled_back"), found: "old"},
		{step: "undo by the boot guard", fault: "power cut again", at: swapped, strike: cutPowerTwice, reported: one("rolled_back"), found: "old"},
		{step: "restart", fault: "reboot in good order", at: restarted, strike: reboot, reported: one("rolled_back", "failed"), found: "old"},
		{step: "watch", fault: "power cut", at: atWatch, strike: cutPower, reported: one("rolled_back"), found: "old"},
		{step: "watch", fault: "program killed and power cut", at: atWatch, strike: killProgramAndPower, reported: one("none"), found: "old"},
		{step: "watch", fault: "program killed and power cut, then recover", at: atWatch, strike: killProgramAndPower, reported: one("none"), found: "old", recover: true},
		{step: "confirm, after the word", fault: "power cut", at: confirmed, strike: cutPower, reported: one("rotated"), found: "new"},
		{step: "undo", fault: "power cut before the file is back", at: atRestore, before: refuseNew, strike: cutPower, after: acceptBoth, reported: one("rolled_back"), found: "old"},
		{step: "undo", fault: "power cut before the agent is back", at: atBack, before: refuseNew, strike: cutPower, after: acceptBoth, reported: one("rolled_back"), found: "old"},
	}
}

func hostCases() []faultCase {
	return []faultCase{
		{step: "backup", fault: "host.sh killed", at: atBackup, strike: killScript, reported: one("rolled_back", "refused"), found: "old"},
		{step: "swap", fault: "host.sh killed", at: swapped, strike: killScript, reported: one("rolled_back"), found: "old"},
		{step: "confirm, before the word", fault: "host.sh killed", at: atConfirm, strike: killScriptInConfirm, reported: one("rolled_back"), found: "old"},
		{step: "undo", fault: "host.sh killed", at: claimed, before: refuseNew, strike: killScript, after: acceptBoth, reported: one("rolled_back"), found: "old"},
	}
}

func diskCases() []faultCase {
	return []faultCase{
		{step: "backup", fault: "state folder full", at: atSave, before: ownState, strike: fillState, after: unmountState, reported: one("refused"), found: "old"},
		{step: "watch", fault: "state folder full", at: atWatch, before: ownState, strike: fillState, after: unmountState, reported: one("rotated", "rolled_back")},
		{step: "backup", fault: "certificate's folder full", at: atSave, before: ownCertificates, strike: fillCertificates, after: dropCertificates, reported: one("refused"), found: "old"},
		{step: "undo", fault: "certificate's folder full", at: atUndo, before: ownCertificatesRefused, strike: fillCertificates, after: dropCertificates, reported: one("failed"), found: "new", sick: true},
		{step: "swap", fault: "certificate immutable", at: atSwap, strike: immutableFile, after: freeFile, reported: one("refused"), found: "old"},
		{step: "swap", fault: "certificate's folder immutable", at: atSwap, strike: immutableFolder, after: freeFolder, reported: one("refused"), found: "old"},
		{step: "undo", fault: "certificate immutable", at: atUndo, before: refuseNew, strike: immutableFile, after: freeFileAcceptBoth, reported: one("failed"), found: "new", sick: true},
		{step: "confirm, after the word", fault: "state folder immutable for a moment", at: atVerdict, strike: immutableState, reported: one("rolled_back"), found: "old"},
	}
}

func agentCases() []faultCase {
	return []faultCase{
		{step: "restart", fault: "start limit used up", at: atRestart, before: startLimitOfTwo, strike: nothing, after: noLimit, reported: one("rolled_back"), found: "old"},
		{step: "undo", fault: "old certificate refused too", at: atUndo, before: refuseNew, strike: refuseAll, after: acceptBoth, reported: one("failed"), found: "old", sick: true, check: keepsEvidence},
		{step: "restart", fault: "agent unhealthy before and after", at: restarted, before: sickBefore, strike: nothing, after: acceptBoth, reported: one("failed"), found: "old", sick: true},
		{step: "restart", fault: "program killed, agent unhealthy before and after", at: restarted, before: sickBefore, strike: killProgram, after: acceptBoth, reported: one("none"), found: "old", sick: true},
	}
}

// rollbackCases strike while the certificate of an earlier run is put back:
// what is old there is the one that the earlier run has brought.
func rollbackCases() []faultCase {
	cases := []faultCase{
		{step: "rollback: watch", fault: "program killed", at: atWatch, strike: killProgram, reported: one("none"), found: "old"},
		{step: "rollback: swap", fault: "power cut", at: swapped, strike: cutPower, reported: one("rolled_back"), found: "old"},
		{step: "rollback: restart", fault: "start limit used up", at: atRestart, before: startLimitOfTwo, strike: nothing, after: noLimit, reported: one("rolled_back"), found: "old"},
		{step: "rollback: confirm, after the word", fault: "connection cut", at: confirmed, strike: cutLink, reported: one("restored"), found: "new"},
		{step: "rollback: undo", fault: "the certificate before refused too", at: atUndo, before: refuseNew, strike: refuseAll, after: otherGoal, reported: one("failed"), found: "old", sick: true, check: keepsEvidence},
	}
	for i := range cases {
		cases[i].rollback = true
	}
	return cases
}
