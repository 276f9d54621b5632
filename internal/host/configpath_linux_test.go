package host

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// configured is an agent's configuration that names a certificate.
type configured struct {
	text string
	path string // that YAML reads in it
	// twice is set if the script can't be sure of the path from one line: a look takes two
	// calls, and the helper wants path= in helper.conf.
	twice bool
}

// configurations has one path in the forms of YAML that editors, templates and other programs write.
func configurations() map[string]configured {
	const p, sp = "/a/b.p12", "        "
	head := "agent_id: a\nsecret_providers:\n  - name: p\n    key_vault:\n      vault_name: v\n      service_principal:\n"
	block := func(value string) string { return head + sp + "cert_path: " + value + "\n" + sp + "client_id: c\n" }
	crlf := func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
	json := `{"agent_id":"a","secret_providers":[{"name":"p","key_vault":{"service_principal":{"client_id":"c","cert_path":"/a/b.p12","tenant_id":"t"}}}]}`
	return map[string]configured{
		"block":                        {block(p), p, false},
		"flow":                         {config(p), p, false},
		"flow, key in front":           {"secret_providers: [{key_vault: {service_principal: {cert_path: /a/b c.p12, tenant_id: t}}}]", "/a/b c.p12", false},
		"flow over lines":              {head[:len(head)-1] + " {\n" + sp + "  client_id: c,\n" + sp + "  cert_path: /a/b.p12\n" + sp + "}\n", p, false},
		"flow over lines, comma":       {head[:len(head)-1] + " {\n" + sp + "  cert_path: /a/b.p12,\n" + sp + "  client_id: c}\n", p, true},
		"JSON":                         {json, p, false},
		"JSON, CRLF":                   {json + "\r\n", p, false},
		"JSON over lines":              {strings.NewReplacer(",", ",\n", "{", "{\n", "}", "\n}", ":", " : ").Replace(json), p, false},
		"CRLF":                         {crlf(block(p)), p, false},
		"CRLF in one line":             {head + sp + "cert_path: " + p + "\r\n", p, false},
		"CRLF, flow":                   {crlf(config(p)), p, false},
		"CRLF, double quotes":          {crlf(block(`"/a/b.p12"`)), p, false},
		"CRLF, comment":                {crlf(block(p + " # old")), p, false},
		"CRLF, spaces":                 {crlf(block(p + "  ")), p, false},
		"CRLF, next line":              {crlf(block("\n" + sp + "  " + p)), p, true},
		"CR alone":                     {strings.ReplaceAll(block(p), "\n", "\r"), p, true},
		"CR at the end":                {head + sp + "cert_path: " + p + "\r", p, false},
		"NEL":                          {head + sp + "cert_path: " + p + "\u0085", p, true},
		"no newline":                   {head + sp + "cert_path: " + p, p, false},
		"byte order mark":              {"\ufeff" + block(p), p, false},
		"byte order mark, JSON":        {"\ufeff" + json, p, false},
		"comment":                      {block("  /a/b#c.p12   # /old.p12"), "/a/b#c.p12", false},
		"commented before":             {"# cert_path: /old.p12\n" + head + "#" + sp + "cert_path: /older.p12\n" + sp + "cert_path: " + p, p, false},
		"double quotes":                {block(`"/a/b, c}.p12" # x`), "/a/b, c}.p12", false},
		"single quotes":                {block("'/a/b} #c.p12'"), "/a/b} #c.p12", false},
		"quote in single quotes":       {block("'/a/b''c.p12'"), "/a/b'c.p12", true},
		"escape":                       {block(`"/a/\u0062.p12"`), p, true},
		"escaped quote":                {block(`"/a/b\"c.p12"`), `/a/b"c.p12`, true},
		"quotes over lines":            {block("\"/a/b\\\n" + sp + "  .p12\""), p, true},
		"comma":                        {block("/a/b,c.p12"), "/a/b,c.p12", true},
		"brackets":                     {block("/a/b[c]{d}.p12"), "/a/b[c]{d}.p12", true},
		"backslash":                    {block(`/a/b\c.p12`), `/a/b\c.p12`, true},
		"quotes within":                {block(`/a/b"c'.p12`), `/a/b"c'.p12`, true},
		"spaces":                       {block("/a/b c  d.p12   "), "/a/b c  d.p12", false},
		"umlaut":                       {block("/a/ü ☂.p12"), "/a/ü ☂.p12", false},
		"shell":                        {block("/a/$(id)`id`;&*?~.p12"), "/a/$(id)`id`;&*?~.p12", false},
		"pattern":                      {block("/*/[!a]*"), "/*/[!a]*", true},
		"tabs":                         {head + sp + "cert_path:\t/a/b.p12\t\n", p, false},
		"space before the colon":       {head + sp + "cert_path : /a/b.p12\n", p, false},
		"quoted key":                   {head + sp + "'cert_path': /a/b.p12\n", p, false},
		"next line":                    {block("\n" + sp + "  " + p), p, true},
		"folded":                       {block(">-\n" + sp + "  " + p), p, true},
		"on two lines":                 {block("/a/b\n" + sp + "  c.p12"), "/a/b c.p12", true},
		"anchor":                       {block("&x " + p), p, true},
		"alias":                        {"x: &x " + p + "\n" + block("*x"), p, true},
		"tag":                          {block("!!str " + p), p, true},
		"merge":                        {"x: &x {cert_path: /a/b.p12}\n" + head + sp + "<<: *x\n", p, false},
		"complex key":                  {head + sp + "? cert_path\n" + sp + ": " + p + "\n", p, true},
		"other keys":                   {block(p) + "x_cert_path: /x\ncert_path_x: /y\nnot-cert_path: /z\nold.cert_path: /w\n", p, false},
		"a document starts":            {"%YAML 1.1\n---\n" + block(p) + "...\n", p, false},
		"one line, longer than a path": {strings.Replace(json, `"a"`, `"`+strings.Repeat("a", 5000)+`"`, 1), p, true},
	}
}

// TestPathOfTheCertificate gives each configuration to both sides: the host names the path
// that YAML reads, or none. With CR in its lines a rotation finds it unchanged.
func TestPathOfTheCertificate(t *testing.T) {
	t.Parallel()
	cases := configurations()
	names := slices.Sorted(maps.Keys(cases))
	inEachShell(t, func(t *testing.T, m *machine) {
		var looks []func() (string, []value)
		for _, name := range names {
			looks = append(looks, func() (string, []value) {
				m.useConfiguration(cases[name])
				return m.observing("path=")()
			})
		}
		for i, r := range m.conversation(looks...) {
			c, f := cases[names[i]], parseFound([]byte(strings.Join(r.lines, "\n")))
			o, err := f.observation(inventory.Agent{})
			if err != nil || o.Provider == nil || o.Provider.Path != c.path {
				t.Fatalf("%s: %+v %v", names[i], o.Provider, err)
			}
			file := f.file(c.path)
			if c.twice != (file == nil) || file != nil && (len(f.files) > 1 || file.fields["digest"] != digest(oldBytes)) {
				t.Errorf("%s: the host named %q, %v", names[i], r.all("certificate"), r.all("digest"))
			}
		}
	})
	for _, name := range names {
		if !strings.HasPrefix(name, "CR") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			m := newMachine(t)
			m.useConfiguration(cases[name])
			o, f, err := m.look(inventory.Agent{}, "path="+m.path)
			m.must(err)
			m.wants(m.rotate(firstRun, newBytes, "config="+configPath, "configured="+o.Configured, "settings="+o.Settings,
				"folder="+f.file(m.path).fields["folder"]), Rotated)
			m.live(newBytes)
		})
	}
}

// useConfiguration writes the configuration and, where it says, the certificate.
func (m *machine) useConfiguration(c configured) {
	m.t.Helper()
	m.path = c.path
	m.mkdir(filepath.Dir(c.path), 0o755)
	m.write(c.path, oldBytes)
	m.state("live=" + m.root + c.path)
	m.write(configPath, c.text)
}

// TestPathForTheHelper: the helper allows the path that root has written, in each form in
// which the script is sure of it; else it says what to do.
func TestPathForTheHelper(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	withHelper(m)
	m.mkdir("/etc/aoifleet", 0o755)
	for name, c := range configurations() {
		if leftOut(t) {
			continue
		}
		m.useConfiguration(c)
		m.write("/etc/aoifleet/helper.conf", "")
		look := func() result {
			return m.run("observe", append(m.common(firstRun), value{"config", configPath}, value{"path", c.path}), noAnswer)
		}
		r := look()
		if !c.twice && (r.get("digest") != digest(oldBytes) || len(r.all("certificate")) != 1) {
			t.Errorf("%s: %v", name, r)
		}
		if !c.twice {
			continue
		}
		if p := hostSaid(r.get("error")); p.Class != problem.Configuration || !strings.Contains(p.Hint, "path=") || r.get("digest") != "" {
			t.Errorf("%s: %+v %v", name, p, r)
		}
		m.write("/etc/aoifleet/helper.conf", "# ours\r\n\r\nunit="+unitName+"\r\npath="+c.path+"\r\n")
		if r = look(); r.get("digest") != digest(oldBytes) {
			t.Errorf("%s, with helper.conf: %v", name, r)
		}
	}
}
