package inventory

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// withWindows returns the policy of an inventory with these windows and freezes.
func withWindows(t *testing.T, windows, freezes string) Rollout {
	t.Helper()
	return parse(t, "version: 1\nrollout:\n  windows: "+windows+"\n  freezes: "+freezes+"\nhosts: {a: {labels: {site: london}}, b: {labels: {site: paris}}}\n").Rollout
}

// What is open when, with the edges: both ends, midnight, the day on which a window begins, and
// clocks that are put forward or back.
func TestOpening(t *testing.T) {
	const london, night = "zone: Europe/London", `[{days: [mon-fri], from: "22:00", to: "05:00", zone: Europe/London}]`
	for _, c := range []struct {
		name, windows, freezes, labels, at string
		until, next                        string // without until it is closed
	}{
		{"no windows", "none", "none", "", "2026-11-30T12:00:00Z", "open", ""},
		{"before", night, "none", "", "2026-11-30T21:59:59Z", "", "2026-11-30T22:00:00Z"},
		{"opens", night, "none", "", "2026-11-30T22:00:00Z", "2026-12-01T05:00:00Z", "2026-12-01T22:00:00Z"},
		{"after midnight", night, "none", "", "2026-12-01T04:59:59Z", "2026-12-01T05:00:00Z", "2026-12-01T22:00:00Z"},
		{"closes", night, "none", "", "2026-12-01T05:00:00Z", "", "2026-12-01T22:00:00Z"},
		{"the day is that on which it begins", night, "none", "", "2026-12-05T04:00:00Z", "2026-12-05T05:00:00Z", "2026-12-07T22:00:00Z"},
		{"Saturday evening", night, "none", "", "2026-12-05T23:00:00Z", "", "2026-12-07T22:00:00Z"},
		{"Monday morning belongs to Sunday", night, "none", "", "2026-12-07T01:00:00Z", "", "2026-12-07T22:00:00Z"},
		{"in summer an hour earlier", night, "none", "", "2026-07-06T21:00:00Z", "2026-07-07T04:00:00Z", "2026-07-07T21:00:00Z"},

		{"label", `[{label: site=london, from: "22:00", to: "23:00", ` + london + `}]`, "none", "site=london", "2026-11-30T12:00:00Z", "", "2026-11-30T22:00:00Z"},
		{"another label", `[{label: site=london, from: "22:00", to: "23:00", ` + london + `}]`, "none", "site=paris", "2026-11-30T12:00:00Z", "open", ""},
		{"glob", `[{label: site=lon*, from: "22:00", to: "23:00", ` + london + `}]`, "none", "site=london", "2026-11-30T12:00:00Z", "", "2026-11-30T22:00:00Z"},
		{"no label", `[{label: site=london, from: "22:00", to: "23:00", ` + london + `}]`, "none", "", "2026-11-30T12:00:00Z", "open", ""},
		{"two windows", `[{from: "01:00", to: "02:00", zone: UTC}, {label: site=london, from: "02:00", to: "03:00", zone: UTC}]`, "none", "site=london", "2026-11-30T01:30:00Z", "2026-11-30T03:00:00Z", "2026-12-01T01:00:00Z"},

		{"from = to: until the next day", `[{days: [sat], from: "00:00", to: "00:00", zone: UTC}]`, "none", "", "2026-12-05T23:59:59Z", "2026-12-06T00:00:00Z", "2026-12-12T00:00:00Z"},
		{"two whole days", `[{days: [sat, sun], from: "00:00", to: "00:00", zone: UTC}]`, "none", "", "2026-12-05T00:00:00Z", "2026-12-07T00:00:00Z", "2026-12-12T00:00:00Z"},
		{"always", `[{from: "00:00", to: "00:00", zone: UTC}]`, "none", "", "2026-12-05T00:00:00Z", "open", ""},
		{"days over the week's end", `[{days: [sat-mon], from: "08:00", to: "09:00", zone: UTC}]`, "none", "", "2026-12-07T10:00:00Z", "", "2026-12-12T08:00:00Z"},

		{"freeze", "none", "[{from: 2026-12-20, to: 2027-01-03, " + london + "}]", "", "2026-12-20T00:00:00Z", "", "2027-01-04T00:00:00Z"},
		{"its last day", "none", "[{from: 2026-12-20, to: 2027-01-03, " + london + "}]", "", "2027-01-03T23:59:59Z", "", "2027-01-04T00:00:00Z"},
		{"before a freeze", "none", "[{from: 2026-12-20, to: 2027-01-03, " + london + "}]", "", "2026-12-19T23:59:59Z", "2026-12-20T00:00:00Z", "2027-01-04T00:00:00Z"},
		{"a freeze cuts a window", night, "[{from: 2026-12-01, to: 2026-12-01, zone: Europe/Paris}]", "", "2026-11-30T22:00:00Z", "2026-11-30T23:00:00Z", "2026-12-01T23:00:00Z"},
		{"one day", "none", "[{from: 2026-12-20, to: 2026-12-20, zone: UTC}]", "", "2026-12-20T12:00:00Z", "", "2026-12-21T00:00:00Z"},

		// Paris: 2026-03-29 02:00 → 03:00, 2026-10-25 03:00 → 02:00.
		{"begins in the gap", `[{days: [sun], from: "02:30", to: "04:00", zone: Europe/Paris}]`, "none", "", "2026-03-29T00:59:59Z", "", "2026-03-29T01:00:00Z"},
		{"ends in the gap", `[{days: [sun], from: "01:00", to: "02:30", zone: Europe/Paris}]`, "none", "", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-04-04T23:00:00Z"},
		{"all of it in the gap: not on that day", `[{days: [sun], from: "02:10", to: "02:50", zone: Europe/Paris}]`, "none", "", "2026-03-29T00:00:00Z", "", "2026-04-05T00:10:00Z"},
		{"begins in the repeated hour: the first", `[{days: [sun], from: "02:30", to: "04:00", zone: Europe/Paris}]`, "none", "", "2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z", "2026-11-01T01:30:00Z"},
		{"ends in the repeated hour: the first", `[{days: [sun], from: "01:00", to: "02:30", zone: Europe/Paris}]`, "none", "", "2026-10-25T00:29:59Z", "2026-10-25T00:30:00Z", "2026-11-01T00:00:00Z"},
		{"the second repeated hour", `[{days: [sun], from: "02:00", to: "02:30", zone: Europe/Paris}]`, "none", "", "2026-10-25T01:15:00Z", "", "2026-11-01T01:00:00Z"},
		// Samoa has no 2011-12-30, a Friday.
		{"a day that is left out", `[{days: [fri], from: "12:00", to: "13:00", zone: Pacific/Apia}]`, "none", "", "2011-12-30T00:00:00Z", "", "2012-01-05T22:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		labels := map[string]string{}
		if name, value, has := strings.Cut(c.labels, "="); has {
			labels[name] = value
		}
		o := withWindows(t, c.windows, c.freezes).Opening(at, labels)
		shown := func(at time.Time) string {
			if at.IsZero() {
				return ""
			}
			return at.UTC().Format(time.RFC3339)
		}
		until := shown(o.Until)
		if o.Open && until == "" {
			until = "open"
		}
		if o.Open != (c.until != "") || until != c.until || shown(o.Next) != c.next {
			t.Errorf("%s: open %v until %q, next %q; want %q, %q", c.name, o.Open, until, shown(o.Next), c.until, c.next)
		}
	}
}

// Random windows and freezes around changes of the clocks are open in the minutes in which a
// clock shows their times that is never put back: read minute by minute, it keeps the latest time
// that it has shown.
func TestOpeningAgainstAClock(t *testing.T) {
	starts := map[string][]string{
		"Europe/Paris":        {"2026-03-27", "2026-10-23", "2026-12-29"},
		"America/New_York":    {"2026-03-06", "2026-10-30"},
		"America/Havana":      {"2026-10-30", "2026-03-06"}, // midnight is repeated, and left out
		"Australia/Lord_Howe": {"2026-04-03", "2026-10-02"}, // half an hour
		"Pacific/Apia":        {"2011-12-28"},               // a day is left out
		"Asia/Kathmandu":      {"2026-06-01"},
		"UTC":                 {"2026-06-01"},
	}
	names := []string{"Europe/Paris", "America/New_York", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "UTC"}
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		name := names[rnd.IntN(len(names))]
		start, _ := time.Parse(time.DateOnly, starts[name][rnd.IntN(len(starts[name]))])
		r := randomWindows(t, rnd, name, start)
		const minutes = 5 * 24 * 60
		open := make([]bool, minutes)
		clocks := map[string]time.Time{}
		for n := -3 * 24 * 60; n < minutes; n++ {
			is := brute(r, start.Add(time.Duration(n)*time.Minute), clocks)
			if n >= 0 {
				open[n] = is
			}
		}
		for range 60 {
			n := rnd.IntN(minutes)
			o := r.Opening(start.Add(time.Duration(n)*time.Minute), nil)
			until, next := firstMinute(open, n, false), 0
			if !open[n] {
				until = n
			}
			next = firstMinute(open, until, true)
			wrong := o.Open != open[n]
			wrong = wrong || o.Open && until < minutes && !o.Until.Equal(start.Add(time.Duration(until)*time.Minute))
			wrong = wrong || until < minutes && next < minutes && !o.Next.Equal(start.Add(time.Duration(next)*time.Minute))
			wrong = wrong || next == minutes && !o.Next.IsZero() && o.Next.Before(start.Add(minutes*time.Minute))
			if wrong {
				t.Fatalf("seed %d, %v %v at %v: %+v, want open %v, until minute %d, next %d", seed, r.Windows, r.Freezes, start.Add(time.Duration(n)*time.Minute), o, open[n], until, next)
			}
		}
	}
}

// firstMinute returns the first minute from n on in which it is open or not, len(open) if none is known.
func firstMinute(open []bool, n int, want bool) int {
	for n < len(open) && open[n] != want {
		n++
	}
	return n
}

func randomWindows(t *testing.T, rnd *rand.Rand, zone string, start time.Time) Rollout {
	t.Helper()
	list := func(n int, one func() string) string {
		if n == 0 {
			return "none"
		}
		var items []string
		for range n {
			items = append(items, one())
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	day := func() string { return weekdays[rnd.IntN(7)] }
	windows := list(rnd.IntN(4), func() string {
		from := rnd.IntN(24 * 60)
		to := []int{from, (from + rnd.IntN(180)) % 1440, rnd.IntN(1440), rnd.IntN(240)}[rnd.IntN(4)]
		return fmt.Sprintf("{days: [%s, %s-%s], from: %q, to: %q, zone: %s}", day(), day(), day(), clockText(from), clockText(to), zone)
	})
	freezes := list(rnd.IntN(3), func() string {
		from := start.AddDate(0, 0, rnd.IntN(6)-1)
		return fmt.Sprintf("{from: %s, to: %s, zone: %s}", from.Format(time.DateOnly), from.AddDate(0, 0, rnd.IntN(2)).Format(time.DateOnly), zone)
	})
	return withWindows(t, windows, freezes)
}

// brute reports whether it is open at a minute, by clocks that are never put back. It is called
// for each minute in order.
func brute(r Rollout, at time.Time, clocks map[string]time.Time) bool {
	read := func(zone *time.Location) time.Time {
		local := at.In(zone)
		shown := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)
		if shown.Before(clocks[zone.String()]) {
			shown = clocks[zone.String()]
		}
		clocks[zone.String()] = shown
		return shown
	}
	free, open := true, len(r.Windows) == 0
	for _, f := range r.Freezes {
		now := read(f.Zone)
		free = free && (now.Before(f.From) || !now.Before(f.To.AddDate(0, 0, 1)))
	}
	for _, w := range r.Windows {
		now := read(w.Zone)
		today := int(now.Weekday())
		minute := now.Hour()*60 + now.Minute()
		switch {
		case w.From < w.To:
			open = open || w.Days[today] && minute >= w.From && minute < w.To
		default:
			open = open || w.Days[today] && minute >= w.From || w.Days[(today+6)%7] && minute < w.To
		}
	}
	return free && open
}

// Every mistake has its place.
func TestWrongWindows(t *testing.T) {
	for text, want := range map[string]string{
		`windows: {from: "22:00"}`:                                                "t.yaml:3:12: rollout.windows must be a list",
		`windows: []`:                                                             "t.yaml:3:12: rollout.windows must be a list",
		`windows: [night]`:                                                        "t.yaml:3:13: rollout.windows must be a list of mappings",
		`windows: [{from: "22:00", zone: UTC}]`:                                   "t.yaml:3:13: an entry of rollout.windows has no to",
		`windows: [{from: "22:00", to: "24:00", zone: UTC}]`:                      `t.yaml:3:33: rollout.windows.to must be a time from 00:00 to 23:59 (write "00:00"`,
		`windows: [{from: "9:00", to: "10:00", zone: UTC}]`:                       "t.yaml:3:20: rollout.windows.from must be a time",
		`windows: [{from: 900, to: "10:00", zone: UTC}]`:                          "t.yaml:3:20: rollout.windows.from must be a string",
		`windows: [{from: "09:00", to: "10:00", zone: Europe/Londn}]`:             `t.yaml:3:48: rollout.windows.zone "Europe/Londn" is not a time zone`,
		`windows: [{from: "09:00", to: "10:00", zone: Local}]`:                    "is not a time zone",
		`windows: [{from: "09:00", to: "10:00", zone: ../../etc/passwd}]`:         "is not a time zone",
		`windows: [{from: "09:00", to: "10:00", zone: localtime}]`:                "is not a time zone",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, days: [monday]}]`:      "t.yaml:3:60: rollout.windows.days must be days",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, days: [mon-fri-sun]}]`: "must be days",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, days: []}]`:            "must be a day or a list of them",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, days: none}]`:          "has no day",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, day: mon}]`:            `unknown key "day" in a window (did you mean "days"?)`,
		`windows: [{from: "09:00", to: "10:00", zone: UTC, label: london}]`:       "must be label=value",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, label: "site=[a"}]`:    "rollout.windows.label: ",
		`windows: [{from: "09:00", to: "10:00", zone: UTC, label: site=lundon}]`:  `t.yaml:3:60: rollout.windows.label "site=lundon": no host has that value (did you mean "london"?)`,
		`windows: [{from: "09:00", to: "10:00", zone: UTC, label: sit=london}]`:   "no host has the label",
		`freezes: [{from: 2026-12-20, to: 2026-12-19, zone: UTC}]`:                "t.yaml:3:13: rollout.freezes ends before it begins",
		`freezes: [{from: 2026-02-29, to: 2026-03-01, zone: UTC}]`:                "t.yaml:3:20: rollout.freezes.from must be a day",
		`freezes: [{from: 2026-12-20, to: 20-12-2026, zone: UTC}]`:                "rollout.freezes.to must be a day",
		`freezes: [{from: 2026-12-20, to: 9999-12-31, zone: UTC}]`:                "from 2000 to 2199",
		`freezes: [{from: 2026-12-20, to: 2026-12-20}]`:                           "has no zone",
	} {
		_, err := Parse("t.yaml", []byte("version: 1\nrollout:\n  "+text+"\nhosts: {a: {labels: {site: london}}}\n"), Env{User: "u", Home: "/h"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n\t%v\n\twant %s", text, err, want)
		}
	}
}
