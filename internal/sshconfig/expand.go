package sshconfig

import (
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// expander replaces tokens, variables and ~ (ssh_config(5), TOKENS and ENVIRONMENT
// VARIABLES) for one host. It refuses what it does not know: a wrong path is worse than
// an error.
type expander struct {
	options Options
	host    Host
}

// tokens returns the values of the tokens in paths, except %C, %i and %j, which are not
// supported.
func (x expander) tokens() map[byte]string {
	short, _, _ := strings.Cut(x.options.HostName, ".")
	key := x.host.HostKeyAlias
	if key == "" {
		key = x.host.Alias
	}
	return map[byte]string{'%': "%", 'd': x.options.Home, 'h': x.host.HostName, 'k': key, 'L': short, 'l': x.options.HostName,
		'n': x.host.Alias, 'p': strconv.Itoa(x.host.Port), 'r': x.host.User, 'u': x.options.User}
}

// path replaces ~, variables and tokens in a path.
func (x expander) path(keyword, s string) (string, error) {
	s, err := x.tilde(keyword, s)
	if err != nil {
		return "", err
	}
	if s, err = x.variables(keyword, s); err != nil {
		return "", err
	}
	return replace(keyword, s, x.tokens())
}

// tilde replaces ~ at the start of a path, and like ssh changes nothing else: without its
// symlinks "link/.." is another folder.
func (x expander) tilde(keyword, s string) (string, error) {
	switch {
	case s == "~" || strings.HasPrefix(s, "~") && os.IsPathSeparator(s[1]):
		if x.options.Home == "" {
			return "", &problem.Error{Class: problem.Usage, Message: keyword + ": can't expand ~: the home directory is unknown", Hint: "write the whole path"}
		}
		return strings.TrimRightFunc(x.options.Home, isSeparator) + "/" + strings.TrimLeftFunc(s[1:], isSeparator), nil
	case strings.HasPrefix(s, "~"):
		return "", &problem.Error{Class: problem.Usage, Message: keyword + ": the home directory of another user is not supported: " + quote(s), Hint: "write the whole path"}
	}
	return s, nil
}

// isSeparator reports whether c separates the folders of a path: also \ on Windows.
func isSeparator(c rune) bool { return c < utf8.RuneSelf && os.IsPathSeparator(byte(c)) }

// variables replaces ${NAME}. As in ssh, a variable that is not set is an error.
func (x expander) variables(keyword, s string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		value := x.options.Getenv(name)
		if !closed || name == "" || value == "" {
			return "", &problem.Error{Class: problem.Usage, Message: keyword + ": the environment variable " + quote(name) + " is not set"}
		}
		out.WriteString(value)
		s = after
	}
}

// agent returns the socket of IdentityAgent, "" for that of the environment, or None. ssh
// has replaced its tokens. $NAME is its older form of a variable.
func (x expander) agent(s string) (string, error) {
	switch {
	case s == "" || s == "SSH_AUTH_SOCK":
		return "", nil
	case s == None:
		return None, nil
	case s[0] == '$' && !strings.HasPrefix(s, "${"):
		if socket := x.options.Getenv(s[1:]); socket != "" {
			return socket, nil
		}
		return None, nil // as in ssh
	}
	path, err := x.tilde("IdentityAgent", s)
	if err != nil {
		return "", err
	}
	return x.variables("IdentityAgent", path)
}

// command replaces the tokens of a line for sh. Like ssh since 9.6, it refuses a name with
// characters that are special to sh (CVE-2023-51385).
func (x expander) command(keyword, s string) (string, error) {
	tokens := map[byte]string{'%': "%"}
	for token, value := range map[byte]string{'h': x.host.HostName, 'n': x.host.Alias, 'r': x.host.User} {
		tokens[token] = value
		if strings.Contains(s, "%"+string(token)) && !harmless(value) {
			return "", &problem.Error{Class: problem.Usage, Message: keyword + ": " + quote(value) + " has characters that are special to a shell",
				Hint: "use jump in the inventory, or ProxyJump, for this host"}
		}
	}
	tokens['p'] = strconv.Itoa(x.host.Port)
	return replace(keyword, s, tokens)
}

// harmless reports whether s has no character that is special to sh.
func harmless(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsAny(s, "'`\"$\\;&<>|(){}, \t\r\n*?[]!#~=")
}

// replace replaces the tokens of a value. An unknown token is an error.
func replace(keyword, s string, tokens map[byte]string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", &problem.Error{Class: problem.Usage, Message: keyword + " ends with a single %", Hint: "write %% for the character"}
		}
		value, known := tokens[s[i]]
		if !known {
			return "", &problem.Error{Class: problem.Usage, Message: keyword + ": the token " + quote(s[i-1:i+1]) + " is not supported"}
		}
		out.WriteString(value)
	}
	return out.String(), nil
}
