package progress

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/picture"
)

// The pictures of the documents are what the program shows. They are written anew with
// AOIFLEET_WRITE_DOCS.
func TestPicturesOfTheView(t *testing.T) {
	moments := map[int]struct {
		events []timed
		after  time.Duration
	}{
		12:  {rotation(hostsOf(twelve), 4, 5*time.Minute, 1, 3, 8), 11*time.Minute + 1*time.Second},
		300: {rotation(hostsOf(threeHundred), 24, 5*time.Minute, 1, 30, 100, 169), 18*time.Minute + 35*time.Second},
	}
	for hosts, c := range moments {
		for _, width := range []int{40, 80, 200} {
			m, now := modelAfter(c.after, c.events)
			m.Interrupted = hosts == 12 && width == 80
			s := Style{Width: width, Height: 30, Color: true}
			var lines []string
			for _, e := range c.events {
				if e.after <= c.after && lasting(e.event) {
					lines = append(lines, above(e.event, s).fit(width-1)...)
				}
			}
			text := strings.Join(append(lines, m.View(s, now)), "\n")
			picture.Compare(t, fmt.Sprintf("live-%d-%d.svg", hosts, width), text, width)
		}
	}
}

// The documents show every picture.
func TestPicturesAreShown(t *testing.T) {
	shown, err := os.ReadFile(filepath.Join("..", "..", "docs", "output.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join("..", "..", "docs", "screens", "*.svg"))
	if err != nil || len(paths) < 12 {
		t.Fatalf("%d pictures, %v", len(paths), err)
	}
	missing := slices.DeleteFunc(paths, func(path string) bool { return strings.Contains(string(shown), "(screens/"+filepath.Base(path)+")") })
	if len(missing) > 0 {
		t.Errorf("docs/output.md does not show %q", missing)
	}
}
