// Line icons, 16 px, drawn for this page.
import type { ReactNode } from "react";

function icon(paths: ReactNode) {
  return function Icon({ size = 16 }: { size?: number }) {
    return (
      <svg width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
        {paths}
      </svg>
    );
  };
}

export const HomeIcon = icon(<path d="M2.5 7.5 8 3l5.5 4.5M4 6.8V13h8V6.8" />);
export const ExploreIcon = icon(<><path d="M2 12.5 5.5 8l3 2.5L14 4" /><path d="M14 7.5V4h-3.5" /></>);
export const PlusIcon = icon(<path d="M8 3.5v9M3.5 8h9" />);
export const CloseIcon = icon(<path d="m4.5 4.5 7 7m0-7-7 7" />);
export const ChevronIcon = icon(<path d="m4.5 6.5 3.5 3.5 3.5-3.5" />);
export const PanelIcon = icon(<><rect x="2" y="3" width="12" height="10" rx="1.5" /><path d="M6 3v10" /></>);
export const ThemeIcon = icon(<><circle cx="8" cy="8" r="5.5" /><path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor" stroke="none" /></>);
export const CopyIcon = icon(<><rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M10.5 5.5V4A1.5 1.5 0 0 0 9 2.5H4A1.5 1.5 0 0 0 2.5 4v5A1.5 1.5 0 0 0 4 10.5h1.5" /></>);
export const CheckIcon = icon(<path d="m3.5 8.5 3 3 6-7" />);
export const MoreIcon = icon(<><circle cx="3.5" cy="8" r=".8" fill="currentColor" /><circle cx="8" cy="8" r=".8" fill="currentColor" /><circle cx="12.5" cy="8" r=".8" fill="currentColor" /></>);
export const PlayIcon = icon(<path d="M5 3.5v9l7-4.5z" />);
export const PauseIcon = icon(<path d="M5.5 3.5v9m5-9v9" />);
export const StopIcon = icon(<rect x="4" y="4" width="8" height="8" rx="1.5" fill="currentColor" stroke="none" />);
export const SqlIcon = icon(<><ellipse cx="8" cy="4" rx="5" ry="1.8" /><path d="M3 4v8c0 1 2.2 1.8 5 1.8s5-.8 5-1.8V4M3 8c0 1 2.2 1.8 5 1.8S13 9 13 8" /></>);
export const DownloadIcon = icon(<path d="M8 3v7m-3-3 3 3 3-3M3 13h10" />);
export const LinkIcon = icon(<path d="M6.5 9.5 9.5 6.5M7 4.8l1.3-1.3a2.7 2.7 0 0 1 3.9 3.9L10.9 8.7M9 11.2l-1.3 1.3a2.7 2.7 0 0 1-3.9-3.9l1.3-1.3" />);
export const ExcludeIcon = icon(<><circle cx="8" cy="8" r="5.5" /><path d="M5.5 8h5" /></>);
export const WarnIcon = icon(<><path d="M8 2.5 14 13H2z" /><path d="M8 6.5v3m0 1.8v.1" /></>);
export const ClockIcon = icon(<><circle cx="8" cy="8" r="5.5" /><path d="M8 5v3.2l2 1.3" /></>);
export const StreamIcon = icon(<><path d="M2 6c2 0 2-2 4-2s2 2 4 2 2-2 4-2" /><path d="M2 11c2 0 2-2 4-2s2 2 4 2 2-2 4-2" /></>);
export const TerminalIcon = icon(<><rect x="2" y="3" width="12" height="10" rx="1.5" /><path d="m4.5 6.5 2 1.5-2 1.5m4 0h3" /></>);
export const TopicIcon = icon(<><circle cx="4" cy="8" r="1.5" /><circle cx="11.5" cy="4" r="1.5" /><circle cx="11.5" cy="12" r="1.5" /><path d="m5.3 7.3 4.9-2.6M5.3 8.7l4.9 2.6" /></>);
export const KeyboardIcon = icon(<><rect x="1.5" y="4" width="13" height="8" rx="1.5" /><path d="M4.5 9.5h7M4 6.8h.1m2.6 0h.1m2.6 0h.1m2.5 0h.1" /></>);
