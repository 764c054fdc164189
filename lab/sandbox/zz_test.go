package sandbox_test
import ("testing";"time";"sort";"fmt";"context";"io";"outlive/lab/sandbox")
var stamp = job("stamp", func(_ context.Context,_ []byte, w io.Writer) error { fmt.Fprintln(w, time.Now().UnixNano()); return nil})
func TestZZ(t *testing.T){
 everyone(t, func(t *testing.T){
 var ds []time.Duration
 for range 60 { b:=time.Now(); s,err:=sandbox.Start(t.Context(), sandbox.Spec{Job:stamp}); if err!=nil {t.Fatal(err)}; ds=append(ds,time.Since(b)); s.Wait() }
 sort.Slice(ds, func(i,j int)bool{return ds[i]<ds[j]})
 t.Log(ds[0], ds[len(ds)/2], ds[len(ds)*9/10])
 })
}
