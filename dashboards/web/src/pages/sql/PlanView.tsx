// How the server means to answer: EXPLAIN PLAN FOR as a tree, and raw.
import { useEffect, useState } from "react";
import { asApiError, type ApiError } from "../../api/errors";
import { sqlRows, type Bound } from "../../api/sql";
import { CopyButton } from "../../kit/CopyButton";
import { ErrorStrip, Notice, Skeleton } from "../../kit/Strip";
import { detailWords, readPlan, stepWords, type Plan, type PlanStep } from "../../sql/plan";
import { bind, fitParameters, type Tab } from "../../sql/tabs";
import { parameterCount, withoutPlace } from "../../sql/text";
import { zoneName } from "../../viz/format";
import styles from "./sql.module.css";

type Shown = { sql: string; plan?: Plan; error?: ApiError };

/** The pause after the last key before the server is asked. */
const PAUSE_MS = 400;

export default function PlanView({ tab, planOf }: { tab: Tab; planOf: () => { text: string; from: number } | undefined }) {
  const [shown, setShown] = useState<Shown>();
  const [raw, setRaw] = useState(false);
  const sql = planOf()?.text.replace(/^explain\s+plan\s+for\s+/i, "") ?? "";
  const zone = zoneName(tab.zone);
  const parameters = JSON.stringify(fitParameters(tab.parameters, parameterCount(sql)).map(bind));

  useEffect(() => {
    if (sql === "") return;
    let over = false;
    const timer = setTimeout(() => {
      const bound = (JSON.parse(parameters) as (Bound | { wrong: string })[]).map((value) => ("wrong" in value ? { type: "VARCHAR" as const, value: null } : value));
      sqlRows<{ PLAN: string; RESOURCES: string }>(`EXPLAIN PLAN FOR ${sql}`, bound, zone).then(
        (rows) => { if (!over) setShown({ sql, plan: readPlan(rows[0] ?? {}) }); },
        (failure: unknown) => { if (!over) setShown((before) => ({ ...before, sql, error: asApiError(failure) })); },
      );
    }, shown === undefined ? 0 : PAUSE_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [sql, parameters, zone]);

  if (sql === "") return <Notice title="Write a query to see its plan." />;
  if (shown === undefined) return <Skeleton height={200} />;
  const { plan, error } = shown;
  return (
    <div className={styles.plan} tabIndex={0} role="region" aria-label="Plan">
      {error !== undefined && <ErrorStrip error={error.with(withoutPlace(error.message))} what="No plan" />}
      {plan !== undefined && (
        <>
          <div className={styles.planBar}>
            <span className={styles.hint}>{plan.tables.length === 0 ? "Reads no table." : `Reads ${plan.tables.join(", ")}.`} Steps run from the innermost outwards.</span>
            <label className={styles.nullBox}><input type="checkbox" checked={raw} onChange={(event) => setRaw(event.target.checked)} />raw</label>
            <CopyButton text={plan.raw} what="the plan" />
          </div>
          {raw || plan.steps.length === 0 ? <pre className={styles.raw}>{plan.raw}</pre> : <ul className={styles.steps} aria-label="Steps of the plan">{plan.steps.map((step, index) => <Step key={index} step={step} />)}</ul>}
        </>
      )}
    </div>
  );
}

function Step({ step }: { step: PlanStep }) {
  const details = step.details.flatMap((detail) => detailWords(detail) ?? []);
  return (
    <li className={styles.step} data-step={step.name}>
      <div className={styles.stepHead}>
        <strong title={step.name}>{stepWords(step.name)}</strong>
        {details.map(({ key, value }, index) => <code key={index} className={styles.detail}>{key !== "" && <span className={styles.detailKey}>{key} </span>}{value}</code>)}
      </div>
      {step.children.length > 0 && <ul className={styles.steps}>{step.children.map((child, index) => <Step key={index} step={child} />)}</ul>}
    </li>
  );
}
