package configuration

import (
	"strings"
	"testing"
)

func TestDangers(t *testing.T) {
	for _, tt := range []struct {
		file     string
		replace  []string
		want     string // a part of the only danger, "" for none
		position string
	}{
		{"sftp", nil, "", ""},
		{"sftp", []string{"id: site-files", "id: other"}, "", ""}, // with exclude_before_time
		{"sftp", []string{"id: site-files", "id: other", "          exclude_before_time: 2026-01-31T00:00:00Z\n", ""}, `pipeline "site-files" becomes "other": the agent uploads all its files again`, "danger 15:5"},
		{"flat", []string{"id: files", "id: other"}, "the agent uploads all its files again", ""},
		{"flat", []string{"id: files", "id: other", "        base_path: /\n", "        base_path: /\n        exclude_before_time: 2026-01-31T00:00:00Z\n"}, "", ""},
		{"flat", []string{"id: files", "id: other", "10.0.0.9", "10.0.0.10"}, `the source of pipeline "files" is removed`, "danger 0:0"},
		{"flat", []string{"10.0.0.9", "10.0.0.10"}, "", ""},
		{"edr", []string{"mcc_edrs", "sftp_pull"}, "is removed", ""},
		{"edr", []string{"port: 36001", "port: 36002"}, `the port of the MCC EDR source "edrs" changes from 36001 to 36002`, ""},
		{"edr", []string{"port: 36001, ", ""}, "", ""}, // the default
		{"edr", []string{"id: edrs", "id: x", "port: 36001", "port: 1"}, "changes from 36001 to 1", ""},
		{"edr", []string{"id: edrs", "id: x"}, "", ""},
		{"edr", []string{"pipelines:", "pipelines: []\nx:"}, "is removed", ""},
	} {
		old := sample(t, tt.file+".yaml")
		found := Dangers([]byte(old), []byte(strings.NewReplacer(tt.replace...).Replace(old)))
		if tt.want == "" && len(found) == 0 {
			continue
		}
		if len(found) != 1 || tt.want == "" || !strings.Contains(found[0].Message, tt.want) || found[0].Level != Danger || !strings.HasPrefix(short(found[0]), tt.position) {
			t.Errorf("%q: %+v", tt.replace, found)
		}
	}
	for old, want := range map[string]int{"": 0, "a: [": 1, "a: b": 0} {
		if found := Dangers([]byte(old), []byte(sample(t, "edr.yaml"))); len(found) != want {
			t.Errorf("%q: %+v", old, found)
		}
	}
}

func TestFleet(t *testing.T) {
	a, flat, edr := sample(t, "sftp.yaml"), sample(t, "flat.yaml"), sample(t, "edr.yaml")
	change := func(text string, replace ...string) []byte {
		return []byte(strings.NewReplacer(replace...).Replace(text))
	}
	for _, tt := range []struct {
		name  string
		files []Named
		want  []string
	}{
		{"different", []Named{{"1", []byte(a)}, {"2", []byte(flat)}, {"3", []byte(edr)}}, nil},
		{"the same file", []Named{{"1", []byte(edr)}, {"2", []byte(edr)}, {"3", []byte(edr)}}, []string{`error 2:11 agent_id: 3 agents have the agent_id "paris-edr-01"`}},
		{"copied, only the id is new", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x")}}, []string{`danger 15:5 pipelines: 2 sources read below "/outgoing/site/" of "sftp.example.net": files are uploaded twice`}},
		{"below", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "/outgoing/site", "outgoing/site/north/")}}, []string{"danger"}},
		{"beside", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "/outgoing/site", "/outgoing/sites")}}, nil},
		{"above all", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "/outgoing/site", "/")}}, []string{`below "/"`}},
		{"another user", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "user: collector", "user: other")}}, nil},
		{"another port", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "port: 22", "port: 2222")}}, nil},
		{"the default port", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "port: 22", "", "sftp.example.net", "SFTP.example.net")}}, []string{"danger"}},
		{"other patterns", []Named{{"1", []byte(a)}, {"2", change(a, "london-sftp-01", "x", "(csv|gz)", "log")}}, []string{"note"}},
		{"not readable", []Named{{"1", []byte(a)}, {"2", []byte("a: [")}}, nil},
	} {
		found := Fleet(tt.files)
		if len(found) != len(tt.want) || len(found) > 0 && (!strings.HasPrefix(short(found[0]), tt.want[0]) && !strings.Contains(short(found[0]), tt.want[0]) || found[0].File != "1" && tt.name != "above all" || len(found[0].Others) != len(tt.files)-1) {
			t.Errorf("%s: %+v", tt.name, found)
		}
	}
}
