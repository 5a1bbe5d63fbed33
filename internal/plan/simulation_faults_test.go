package plan_test

import "testing"

// What the simulation is worth: each of these mistakes, made again, is found within so many schedules.

const simEnough = 2000

func finds(t *testing.T, f faults, kinds ...string) {
	t.Helper()
	for seed := range uint64(simEnough) {
		if s := play(seed+1, f, nil, false); s.failure != nil {
			t.Logf("seed %d: %s: %s", seed+1, s.failure.kind, s.failure.text)
			for _, kind := range kinds {
				if s.failure.kind == kind {
					return
				}
			}
		}
	}
	t.Errorf("not found in %d schedules", simEnough)
}

func TestSimulationFindsTransformThatIsNotIdempotent(t *testing.T) {
	finds(t, faults{digestTwice: true}, "no cause")
}

func TestSimulationFindsFreshnessByTimeAfterKeyRemoval(t *testing.T) {
	finds(t, faults{trustRemovals: true}, "missed")
}

func TestSimulationFindsTiesTakenAsFresh(t *testing.T) {
	finds(t, faults{tiesFresh: true}, "missed")
}

func TestSimulationFindsRepeatingValue(t *testing.T) {
	finds(t, faults{repeatValues: true}, "missed")
}

func TestSimulationFindsWriteWithoutVersion(t *testing.T) {
	finds(t, faults{blindWrites: true}, "not needed")
}

func TestSimulationFindsForgottenContent(t *testing.T) {
	finds(t, faults{noTurns: true}, "missed")
}

func TestSimulationFindsForgottenTokens(t *testing.T) {
	finds(t, faults{forgetTokens: true}, "asked once")
}

func TestSimulationFindsRecordBeforeRestart(t *testing.T) {
	finds(t, faults{recordFirst: true}, "wrong report", "missed")
}
