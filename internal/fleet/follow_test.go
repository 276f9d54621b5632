package fleet

import (
	"slices"
	"testing"

	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// However many parts a rollout has, some are asked at a time, and each in its turn. Nothing is left
// out at the end and before a question.
func TestTurns(t *testing.T) {
	w := newFollower(&Fleet{}, &rollout.Plan{})
	w.parts = 200
	asked := map[int]int{}
	for round := range 2 * w.parts / partsAtOnce {
		list := w.turns(&engine.State{}, round)
		if len(list) > partsAtOnce {
			t.Fatalf("round %d: %d parts", round, len(list))
		}
		for _, part := range list {
			asked[part]++
		}
	}
	if len(asked) != w.parts || asked[0] != 1 {
		t.Errorf("%d parts were asked, the first %d times", len(asked), asked[0])
	}
	for name, s := range map[string]engine.State{"end": {Result: &engine.Result{}}, "question": {Asks: 1}} {
		list := w.turns(&s, 1)
		if slices.Sort(list); len(slices.Compact(list)) != w.parts {
			t.Errorf("%s: %v", name, list)
		}
	}
	if w.allAt = 1; len(w.turns(&engine.State{Asks: 1}, 2)) > partsAtOnce {
		t.Error("all are asked as long as the question is open")
	}
	w.parts, w.allAt = 3, 0
	if n := len(w.turns(&engine.State{}, 0)); n != 3 {
		t.Error(n)
	}
}
