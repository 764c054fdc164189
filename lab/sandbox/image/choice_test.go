package image

import "testing"

// TestChooseKernel: what was chosen is used until it is taken back, and a folder
// without a kernel is refused and changes nothing.
func TestChooseKernel(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	a, b := craftKernel(t, "a"), craftKernel(t, "b")
	want := built(t, Options{Kernel: a}).Key
	if err := ChooseKernel(a); err != nil {
		t.Fatal(err)
	}
	if err := ChooseKernel(t.TempDir()); err == nil {
		t.Error("a folder without a kernel was taken")
	}
	if got := built(t, Options{}).Key; got != want {
		t.Errorf("the image is %s, of the chosen kernel it would be %s", got, want)
	}
	if got := built(t, Options{Kernel: b}).Key; got == want {
		t.Error("a kernel that was named did not go before the chosen one")
	}
	cache, err := Cache()
	if err != nil {
		t.Fatal(err)
	}
	if err := ChooseKernel(""); err != nil {
		t.Fatal(err)
	}
	if dir, err := chosenKernel(cache); dir != "" || err != nil {
		t.Errorf("after taking it back: %q, %v", dir, err)
	}
	if err := ChooseKernel(""); err != nil {
		t.Errorf("taking back twice: %v", err)
	}
}
