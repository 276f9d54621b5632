package host

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// duel starts confirm and undo of one run at once, again and again, after short delays that
// differ each time. Functions that do not matter for the race are replaced.
const duel = `
begin
reset_values
unit=u state=$ROOT/state real=/file path=/file start=no swap=yes keep=3
sync() { :; }
sleep() { :; }
prune_backups() { :; }
unit_state() { :; }
old=@OLD@ new=@NEW@
random=$(od -An -N2 -tu2 /dev/urandom)
idle() {
    random=$(((random * 25173 + 13849) % 65536))
    idles=$((random / 128))
}
: >"$ROOT/state/none"
i=0
while [ $i -lt $1 ]; do
    i=$((i + 1))
    run=run-$i kept=$state/backups/run-$i
    mkdir "$kept" || exit 1
    printf '%s\n' "run=$run" end >"$kept/receipt"
    printf MIIold >"$kept/certificate"
    printf MIInew >"$ROOT/file"
    ln -T "$kept/receipt" "$state/pending" || exit 1
    idle; confirms_after=$idles
    idle; undoes_after=$idles
    ( n=0; while [ $n -lt $confirms_after ]; do n=$((n + 1)); done; confirm ) >"$ROOT/confirmed" 2>&1 &
    ( n=0; while [ $n -lt $undoes_after ]; do n=$((n + 1)); done; undo timeout late ) >"$ROOT/undone" 2>&1 &
    wait
    one='' other='' file='' left=''
    while read -r line; do case $line in result=*) one=$one${line#*=} ;; esac; done <"$ROOT/confirmed"
    while read -r line; do case $line in result=*) other=$other${line#*=} ;; esac; done <"$ROOT/undone"
    read -r file <"$ROOT/file"
    for name in pending undoing; do [ ! -e "$state/$name" ] || left=$left$name; done
    [ -e "$kept/certificate" ] && held=backup || held=none
    for name in confirmed rolled-back failed; do ! has_state $name || left=$left$name; done
    printf '%s\n' "$one $other $file $held $left"
    rm -rf -- "$state/backups"/* "$state/confirmed" "$state/rolled-back"
done
`

// TestConfirmAgainstUndo: each time exactly one of the two wins, both report it, and file,
// backup and receipt agree.
func TestConfirmAgainstUndo(t *testing.T) {
	t.Parallel()
	duels := 40
	switch {
	case wholeMatrix:
		duels = 1000
	case inMatrix():
		duels = 200
	}
	each := duels/len(shells(t)) + 1
	wins := map[string]int{}
	var lines int
	for _, shell := range shells(t) {
		m := newMachine(t)
		m.shell = shell
		m.mkdir("/state/backups", 0o700)
		text := strings.NewReplacer("@OLD@", digest(oldBytes), "@NEW@", digest(newBytes), "$1", fmt.Sprint(each)).Replace(duel)
		cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
		cmd.Stdin = strings.NewReader(m.onMachine(sent) + text)
		out, err := cmd.Output()
		m.must(err)
		for scanner := bufio.NewScanner(strings.NewReader(string(out))); scanner.Scan(); lines++ {
			switch end := scanner.Text(); end {
			case "rotated rotated " + newBytes + " backup confirmed", "rolled-back rolled-back " + oldBytes + " none rolled-back":
				wins[end]++
			default:
				t.Fatalf("%s: not one winner: %q", shell, end)
			}
		}
	}
	if len(wins) != 2 || lines != each*len(shells(t)) {
		t.Errorf("%d duels, the winners: %v", lines, wins)
	}
	t.Log(wins)
}

// TestTwoAtOnce: of two rotations that start together exactly one succeeds.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		for round := range 5 {
			runs := []string{fmt.Sprintf("20261123T09000%dZ-aaaa", round), fmt.Sprintf("20261123T09000%dZ-bbbb", round)}
			texts := []string{fmt.Sprint("MIIone", round), fmt.Sprint("MIItwo", round)}
			inputs := [][]value{m.change(runs[0], texts[0]), m.change(runs[1], texts[1])}
			results := make([]chan result, 2)
			for i := range results {
				results[i] = make(chan result)
				go func() { results[i] <- m.run("rotate", inputs[i], "confirm "+runs[i]+"\n") }()
			}
			ends := []result{<-results[0], <-results[1]}
			winner := 0
			if ends[1].get("result") == string(Rotated) {
				winner = 1
			}
			m.wants(ends[winner], Rotated)
			m.wants(ends[1-winner], Refused)
			// The winner may end during the check: then its deadline, process and receipt are gone.
			if why := ends[1-winner].get("error"); !strings.HasPrefix(why, "drift ") &&
				!strings.HasPrefix(why, "locked run "+runs[winner]+" of operator@console is in progress on this host") &&
				!regexp.MustCompile(`^locked .* has just ended on this host; try again`).MatchString(why) {
				t.Errorf("refused with %q", why)
			}
			m.live(texts[winner])
			m.settled()
			if m.receipts()["confirmed"] != runs[winner] || m.read(m.stateRun(runs[1-winner])+"/receipt") != "(none)" {
				t.Errorf("%v", m.receipts())
			}
		}
	})
}

// TestConfirmAgainstTick is the real race: a rotation that waits, and its timer.
func TestConfirmAgainstTick(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		for round := range 4 {
			run := fmt.Sprintf("20261123T09000%dZ-aaaa", round)
			before := m.read(certPath)
			m.hook("on-restart", "") // no log lines
			w := m.waiting(run)
			m.due()
			ticked := make(chan result)
			go func() { ticked <- m.tick() }()
			r := m.answered(w, "confirm "+run)
			tick := <-ticked
			want := before
			switch r.get("result") {
			case string(Rotated):
				want = newBytes
				if len(tick.all("result")) > 0 && tick.get("result") != string(Rotated) {
					t.Errorf("two winners: %v and %v", r, tick)
				}
			case string(RolledBack):
			default:
				t.Fatalf("%v", r)
			}
			m.live(want)
			m.tick() // removes leftovers of the loser
			m.settled()
			m.write(certPath, oldBytes)
			m.state("loaded=" + oldBytes)
		}
	})
}
