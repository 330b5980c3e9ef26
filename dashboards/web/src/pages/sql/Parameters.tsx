// One typed input for each `?` of the statement.
import { bind, PARAMETER_TYPES, type ParameterInput } from "../../sql/tabs";
import styles from "./sql.module.css";

type Props = { inputs: readonly ParameterInput[]; showWrong: boolean; onChange: (inputs: ParameterInput[]) => void; onRun: () => void };

export function Parameters({ inputs, showWrong, onChange, onRun }: Props) {
  const set = (index: number, change: Partial<ParameterInput>) => onChange(inputs.map((input, at) => (at === index ? { ...input, ...change } : input)));
  return (
    <fieldset className={styles.parameters}>
      <legend className="visually-hidden">Parameters</legend>
      {inputs.map((input, index) => {
        const value = bind(input);
        const wrong = showWrong && "wrong" in value ? value.wrong : undefined;
        return (
          <div key={index} className={styles.parameter}>
            <span className={styles.mark} aria-hidden="true">?{index + 1}</span>
            <select aria-label={`Type of parameter ${index + 1}`} value={input.type} onChange={(event) => set(index, { type: event.target.value as ParameterInput["type"] })}>
              {PARAMETER_TYPES.map((type) => <option key={type}>{type}</option>)}
            </select>
            <input
              aria-label={`Parameter ${index + 1}`} value={input.isNull ? "" : input.text} disabled={input.isNull} placeholder={input.isNull ? "null" : input.type === "VARCHAR" ? "text" : input.type.toLowerCase()}
              aria-invalid={wrong !== undefined} aria-describedby={wrong === undefined ? undefined : `wrong-${index}`} inputMode={input.type === "BIGINT" ? "numeric" : input.type === "DOUBLE" ? "decimal" : "text"}
              onChange={(event) => set(index, { text: event.target.value })}
              onKeyDown={(event) => { if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) onRun(); }}
            />
            <label className={styles.nullBox}><input type="checkbox" checked={input.isNull} onChange={(event) => set(index, { isNull: event.target.checked })} />null</label>
            {wrong !== undefined && <span id={`wrong-${index}`} className={styles.wrong} role="alert">{wrong}</span>}
          </div>
        );
      })}
    </fieldset>
  );
}
